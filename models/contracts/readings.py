"""What devices send: an event body is one reading (or flush marker) or an array of them."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from models.errors import BadInput

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]

# Numbers below are epoch seconds, from here on milliseconds: 1e11 s is the year 5138, 1e11 ms is March 1973.
MILLISECONDS_FROM = 1e11
# 2100-01-01: beyond it a number is neither seconds nor milliseconds of our time (microseconds, perhaps).
MAX_EPOCH_US = 4_102_444_800_000_000


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One measurement. Identity: (device, sensor, ts); `seq` is the device's own counter: accepted, not stored."""

    device: Name
    sensor: Name
    ts: datetime | float
    """ISO 8601 (zone-less means UTC), epoch seconds or epoch milliseconds; `epoch_us` tells them apart."""
    value: float
    seq: int | None = None


class FlushMarker(msgspec.Struct, frozen=True):
    """Closes all open windows of a device at once: it goes offline, or a replay has ended."""

    device: Name
    flush: bool


def epoch_us(ts: datetime | float) -> int:
    """Microseconds since the epoch of a reading's `ts`, 0 .. MAX_EPOCH_US. Raises BadInput outside that range."""
    if isinstance(ts, datetime):
        seconds = (ts if ts.tzinfo else ts.replace(tzinfo=UTC)).timestamp()
    else:
        seconds = ts if ts < MILLISECONDS_FROM else ts / 1000.0
    # Compared before rounding: a float may be too large to become an integer at all.
    if not 0 <= seconds * 1e6 <= MAX_EPOCH_US:
        raise BadInput(
            f"ts: expected ISO 8601, epoch seconds or epoch milliseconds between 1970 and 2100, got {ts!s}"
        )
    return round(seconds * 1e6)
