"""Event bodies: many readings of one device in one JSON array."""

import msgspec
import numpy as np
import numpy.typing as npt

from models.contracts import FlushMarker

# Well under the 1 MB that Event Hubs takes, at up to some 300 bytes a reading.
MAX_READINGS_PER_EVENT = 1000
_encode = msgspec.json.Encoder().encode


class _Item(msgspec.Struct):
    """A reading on the wire, `ts` in epoch seconds."""

    device: str
    sensor: str
    ts: float
    value: float


def encode_event(
    device: str, sensor: list[str], ts_us: npt.NDArray[np.int64], value: npt.NDArray[np.float64]
) -> bytes:
    """Body of one event with n readings of `device`."""
    seconds = (ts_us / 1e6).tolist()  # doubles hold microseconds exactly enough until 2255
    return _encode(
        [_Item(device, name, ts, number) for name, ts, number in zip(sensor, seconds, value.tolist(), strict=True)]
    )


def encode_flush(device: str) -> bytes:
    """Body of a flush marker: all open windows of `device` close."""
    return _encode(FlushMarker(device, True))
