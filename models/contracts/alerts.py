"""Alerts: episodes of anomalous windows of one series."""

from enum import StrEnum

import msgspec


class AlertStatus(StrEnum):
    """Life of an episode."""

    RAISED = "raised"
    CLEARED = "cleared"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One episode; identity (device, sensor, start_us). Times ending in `_us` are event time, epoch microseconds.

    All but `raised_at` and `updated_at` (wall clock, epoch seconds) is a function of the predictions alone.
    """

    version: int = 1
    hub: str
    spec: str
    partition: int
    device: str
    sensor: str
    start_us: int
    """Start of the episode's first anomalous window."""
    last_us: int
    """Start of its latest anomalous window."""
    cleared_us: int | None = None
    """Start of the normal window that ended it."""
    windows: int
    peak_score: float
    threshold: float
    model_version: str
    status: AlertStatus
    raised_at: float
    updated_at: float
