"""Composition roots, one per deployable: each alone reads settings and makes clients."""
