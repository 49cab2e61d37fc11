"""The checkpoint of a partition: all that a worker must know to go on from an offset, as one blob.

Layout: 4 bytes big-endian length of the head, the head (MessagePack), then the arrays that it lists, end to end.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from models.errors import BadInput
from stream.series import Series
from stream.windows import Block, DeviceTimes, OpenWindows

VERSION = 1


class Counters(msgspec.Struct):
    """What happened on a partition since its first event. Replay counts nothing twice: restored with the rest."""

    events: int = 0
    readings: int = 0
    """Readings taken into windows."""
    duplicates: int = 0
    late: int = 0
    dead_lettered: int = 0
    windows: int = 0
    batches: int = 0


class Checkpoint(msgspec.Struct):
    """State of a partition after all events before `offset`."""

    offset: int
    """The next offset to read."""
    next_seq: int
    archived: int
    """Events before this offset are in the archive: up to `offset`, and further where another life was ahead."""
    append_us: int
    """Broker append time of the latest event."""
    counters: Counters
    series: Series
    windows: OpenWindows


class _Head(msgspec.Struct):
    version: int
    window: str
    offset: int
    next_seq: int
    archived: int
    append_us: int
    counters: Counters
    devices: list[str]
    sensors: list[str]
    arrays: list[tuple[str, int]]
    blocks: list[tuple[int, bool]]


_DEVICE_ARRAYS = ("largest_us", "forced_us", "seen_us", "flushed", "next_end_us")


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The blob's bytes; a copy, so the state may move on at once."""
    windows, series = checkpoint.windows, checkpoint.series
    devices = windows.devices
    arrays: list[np.ndarray[Any, Any]] = [series.device_of, series.sensor_of]
    arrays += [getattr(devices, name)[: devices.size] for name in _DEVICE_ARRAYS]
    for block in windows.blocks:
        arrays += [block.series, block.relative_us, block.value]
        if block.back is not None:
            arrays.append(block.back)
    head = msgspec.msgpack.encode(
        _Head(
            version=VERSION,
            window=windows.spec.name,
            offset=checkpoint.offset,
            next_seq=checkpoint.next_seq,
            archived=checkpoint.archived,
            append_us=checkpoint.append_us,
            counters=checkpoint.counters,
            devices=series.devices,
            sensors=series.sensors,
            arrays=[(array.dtype.str, len(array)) for array in arrays],
            blocks=[(block.base_us, block.back is not None) for block in windows.blocks],
        )
    )
    parts: Sequence[Any] = [len(head).to_bytes(4, "big"), head, *map(np.ascontiguousarray, arrays)]
    return b"".join(parts)


def decode_checkpoint(data: bytes, *, max_devices: int, max_series: int, empty: OpenWindows) -> Checkpoint:
    """The state that was encoded, its windows put into `empty`. Raises BadInput if `data` is something else."""
    size = int.from_bytes(data[:4], "big")
    try:
        head = msgspec.msgpack.decode(data[4 : 4 + size], type=_Head)
    except msgspec.MsgspecError as error:
        raise BadInput(f"checkpoint: unreadable head ({error})") from error
    if (head.version, head.window) != (VERSION, empty.spec.name):
        raise BadInput(
            f"checkpoint: expected version {VERSION} of {empty.spec.name}, got {head.version} of {head.window}"
        )
    expected = 4 + size + sum(np.dtype(dtype).itemsize * length for dtype, length in head.arrays)
    if len(data) != expected:
        raise BadInput(f"checkpoint: expected {expected} bytes, got {len(data)}")
    arrays, position = [], 4 + size
    for dtype, length in head.arrays:
        arrays.append(np.frombuffer(data, dtype=np.dtype(dtype), count=length, offset=position))
        position += arrays[-1].nbytes
    (device_of, sensor_of), clocks = arrays[:2], arrays[2 : 2 + len(_DEVICE_ARRAYS)]
    rest = iter(arrays[2 + len(_DEVICE_ARRAYS) :])
    empty.devices = DeviceTimes(
        **{n: a.copy() for n, a in zip(_DEVICE_ARRAYS, clocks, strict=True)}, size=len(clocks[0])
    )
    empty.blocks = [
        Block(next(rest), base_us, next(rest), next(rest), next(rest) if has_back else None)
        for base_us, has_back in head.blocks
    ]
    return Checkpoint(
        offset=head.offset,
        next_seq=head.next_seq,
        archived=head.archived,
        append_us=head.append_us,
        counters=head.counters,
        series=Series.restored(max_devices, max_series, head.devices, head.sensors, device_of, sensor_of),
        windows=empty,
    )
