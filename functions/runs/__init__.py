"""Runs of the recommender: uploads and schedules that start training, lists of users that are scored, their records.

Handlers of `functions.pipeline`, plain functions of messages and ports. Imports `models` and `functions` only.
"""
