"""Adapters of the StateStore port: SQLite for one machine."""
