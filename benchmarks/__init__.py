"""Measurements of Penstock beside its peers, on one machine in one run, their results compared.

`python -m benchmarks.run` runs them all (`make bench`); docs/benchmarks.md says what each measures. Nothing in the
product imports from here.
"""
