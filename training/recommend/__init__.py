"""Recommenders: ratings read and checked, split, trained on, evaluated and reported.

May import `models` only, and does no I/O but on the files it is given. Heavy libraries are imported inside functions.
"""
