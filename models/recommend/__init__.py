"""The vocabulary of the recommendation path: ratings as columns, what a registered recommender holds, and metrics.

Imports `models` only and does no I/O.
"""
