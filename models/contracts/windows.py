"""Window rows: what the stream writes per closed window. Stored as Parquet by `models.tables`."""

from enum import StrEnum

import msgspec


class ClosedBy(StrEnum):
    """What closed a window."""

    WATERMARK = "watermark"
    IDLE = "idle"
    FLUSH = "flush"


class WindowRow(msgspec.Struct, frozen=True):
    """One closed window of one series; identity (hub, device, sensor, spec, start) with hub and spec in the batch.

    `features` are those of `models.features.FEATURES`, in that order. Readings of the window at offsets up to
    `closed_offset` are in it; later ones are late.
    """

    device: str
    sensor: str
    start_us: int
    count: int
    duplicates: int
    features: list[float]
    closed_by: ClosedBy
    closed_offset: int
