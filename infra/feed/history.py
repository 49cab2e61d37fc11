"""Stored readings as events to send: per device in time order, across devices by time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infra.feed.events import MAX_READINGS_PER_EVENT, encode_event
from models.tables import Readings

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DeviceHistory:
    """n readings of one device; equal times stay in the order in which they were given."""

    device: str
    sensor: list[str]
    ts_us: Int64
    value: Float64

    def __len__(self) -> int:
        return len(self.sensor)


@dataclass(frozen=True, slots=True)
class PackedEvent:
    """An event ready to send, with the event times of its first and last reading."""

    device: str
    first_us: int
    last_us: int
    readings: int
    body: bytes


def by_device(chunks: Iterable[Readings]) -> list[DeviceHistory]:
    """One history per device, sorted by name; readings by time, those of equal time in the order of `chunks`."""
    device, sensor, ts, values = list[str](), list[str](), list[Int64](), list[Float64]()
    for chunk in chunks:
        device += chunk.device
        sensor += chunk.sensor
        ts.append(chunk.ts_us)
        values.append(chunk.value)
    if not device:
        return []
    names = sorted(set(device))
    code_of = {name: code for code, name in enumerate(names)}
    code = np.fromiter((code_of[name] for name in device), np.int64, len(device))
    ts_us, value = np.concatenate(ts), np.concatenate(values)
    order = np.lexsort((ts_us, code))  # stable
    ends = np.searchsorted(code[order], np.arange(len(names) + 1))
    return [
        DeviceHistory(name, [sensor[i] for i in rows.tolist()], ts_us[rows], value[rows])
        for name, rows in ((name, order[ends[c] : ends[c + 1]]) for c, name in enumerate(names))
    ]


def packed(histories: Sequence[DeviceHistory], *, span_us: int | None = None) -> Iterator[PackedEvent]:
    """All readings in as few events as possible, ordered by the time of each event's first reading.

    With `span_us` no event holds readings further apart than that, for a replay at a set speed.
    """
    cuts = [
        (int(history.ts_us[start]), number, start, end)
        for number, history in enumerate(histories)
        for start, end in _slices(history.ts_us, span_us)
    ]
    for first_us, number, start, end in sorted(cuts):
        history = histories[number]
        ts_us = history.ts_us[start:end]
        body = encode_event(history.device, history.sensor[start:end], ts_us, history.value[start:end])
        yield PackedEvent(history.device, first_us, int(ts_us[-1]), end - start, body)


def _slices(ts_us: Int64, span_us: int | None) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(ts_us):
        end = min(start + MAX_READINGS_PER_EVENT, len(ts_us))
        if span_us is not None:
            end = min(end, int(np.searchsorted(ts_us, ts_us[start] + span_us, side="left")))
        end = max(end, start + 1)
        yield start, end
        start = end
