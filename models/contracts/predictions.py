"""Predictions: one row per window row, in the batch's order. Stored as Parquet by `models.tables`."""

from enum import StrEnum

import msgspec


class PredictionStatus(StrEnum):
    """How far a window could be scored."""

    SCORED = "scored"
    LEARNING = "learning"
    """The series has no model yet: no score, no alert."""
    INVALID = "invalid"
    """The features are not finite, or the model answered NaN: never 'normal'."""


class Prediction(msgspec.Struct, frozen=True):
    """A window with its score.

    `decision` is scikit-learn's decision_function (negative: outside), `score` the log-kernel distance with the
    same boundary at 0 (positive: outside), which keeps growing far from the data. Both are NaN unless `scored`.
    """

    device: str
    sensor: str
    start_us: int
    count: int
    duplicates: int
    features: list[float]
    closed_offset: int
    status: PredictionStatus
    decision: float
    score: float
    model_version: str
