"""What was set aside, why, and where it came from: one JSON line each."""

from enum import StrEnum

import msgspec


class Reason(StrEnum):
    """Why a reading or an event was set aside."""

    MALFORMED = "malformed"
    """The body is not JSON, or an item of it is not a reading."""
    AHEAD_OF_CLOCK = "ahead-of-clock"
    """`ts`, or `time_us` of a rating, lies more than `max_ahead` beyond the event's broker append time."""
    TOO_MANY_DEVICES = "too-many-devices"
    """A device new to a partition that already knows as many as it may."""
    TOO_MANY_SERIES = "too-many-series"
    """A (device, sensor) pair new to a partition that already knows as many as it may."""
    TOO_MANY_READINGS = "too-many-readings"
    """The partition's open windows already hold as many readings as they may."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One item set aside. `item` is its place in the event's array; `body` its text, cut at 64 KiB."""

    version: int = 1
    hub: str
    partition: int
    offset: int
    item: int
    reason: Reason
    detail: str
    body: str
