"""Events to columns: decodes a chunk of raw bodies, setting aside what is not a reading.

One bad item costs only itself: the other items of its event, and the other events, are decoded all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from models.contracts import FlushMarker, Reading, epoch_us
from models.contracts.readings import MAX_EPOCH_US, MILLISECONDS_FROM
from models.errors import BadInput

Int64 = npt.NDArray[np.int64]
MAX_BODY_CHARS = 65_536
MAX_REJECTED_PER_EVENT = 100
"""Beyond it the rest of an event's bad items is set aside as one, with the event's text."""

_events = msgspec.json.Decoder(Reading | list[Reading])
_reading = msgspec.json.Decoder(Reading)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_flush = msgspec.json.Decoder(FlushMarker)
# What msgspec raises on bytes that are not the JSON it was asked for; RecursionError comes from deep nesting.
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In place of a body that the client library could not take out of its batch, and why."""

    reason: str


Body = bytes | Unreadable | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Raw records of one partition, in offset order. append_us: broker append time, epoch microseconds."""

    offset: Int64
    append_us: Int64
    body: Sequence[Body]

    def __len__(self) -> int:
        return len(self.body)

    def after(self, offset: int) -> "Chunk":
        """The records from `offset` on."""
        start = int(np.searchsorted(self.offset, offset))
        return Chunk(self.offset[start:], self.append_us[start:], self.body[start:]) if start else self


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that is not a reading: its event's index in the chunk, its place in the event, why, and its text."""

    event: int
    item: int
    detail: str
    body: str


@dataclass(slots=True)
class Decoded:
    """n readings and flush markers of a chunk in log order; `sensor` is "" and `value` NaN for a flush marker."""

    device: list[str] = field(default_factory=list)
    sensor: list[str] = field(default_factory=list)
    ts_us: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    value: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    event: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Index of the event that carried the row."""
    item: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Place of the row in its event."""
    rejected: list[Rejected] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.device)


def decode(bodies: Sequence[Body]) -> Decoded:
    """Columns of all readings and flush markers in `bodies`; never raises on what devices send."""
    rejected: list[Rejected] = []
    places: dict[int, list[int]] = {}
    try:
        events = list(map(_events.decode, bodies))  # type: ignore[arg-type]  # others: TypeError below
    except (*_UNDECODABLE, TypeError):
        events = []
        for event, body in enumerate(bodies):
            if isinstance(body, Unreadable):
                events.append([])
                rejected.append(_reject(event, 0, b"", body.reason))
                continue
            try:
                events.append(_events.decode(body or b""))
            except _UNDECODABLE as error:
                kept, bad = _decode_items(event, body or b"", error)
                events.append([row for _, row in kept])
                places[event] = [place for place, _ in kept]
                rejected += bad
    kinds = set(map(type, events))
    if kinds == {Reading}:
        first = np.zeros(len(events), dtype=np.int64)
        return _columns(events, np.arange(len(events)), first, rejected)
    if kinds != {list}:
        events = [event if isinstance(event, list) else [event] for event in events]
    rows: list[Reading | FlushMarker] = list(chain.from_iterable(events))
    count = np.fromiter(map(len, events), dtype=np.int64, count=len(events))
    event_of = np.repeat(np.arange(len(events), dtype=np.int64), count)
    item = np.arange(len(rows), dtype=np.int64) - np.repeat(np.cumsum(count) - count, count)
    for event, kept_places in places.items():
        item[event_of == event] = kept_places
    return _columns(rows, event_of, item, rejected)


def _decode_items(
    event: int, body: bytes, error: Exception
) -> tuple[list[tuple[int, Reading | FlushMarker]], list[Rejected]]:
    """What can be saved of an event that is not plainly one reading or an array of them."""
    kept: list[tuple[int, Reading | FlushMarker]] = []
    rejected: list[Rejected] = []
    items: list[bytes]
    try:
        items = [bytes(raw) for raw in _items.decode(body)] if body.lstrip()[:1] == b"[" else [body]
    except _UNDECODABLE:
        return [], [_reject(event, 0, body, f"expected JSON, got {len(body)} other bytes: {error}")]
    more = last = 0
    for place, item in enumerate(items):
        try:
            kept.append((place, _decode_item(item)))
        except (*_UNDECODABLE, BadInput) as reason:
            if len(rejected) < MAX_REJECTED_PER_EVENT:
                rejected.append(_reject(event, place, item, str(reason)))
            else:
                more += 1
                last = place
    if more:
        rejected.append(
            _reject(event, last, body, f"{more} more items of this event, up to this one, are no readings")
        )
    return kept, rejected


def _decode_item(item: bytes) -> Reading | FlushMarker:
    try:
        return _reading.decode(item)
    except msgspec.ValidationError as error:
        try:
            marker = _flush.decode(item)
        except msgspec.ValidationError:
            raise BadInput(f"expected a reading (device, sensor, ts, value) or a flush marker: {error}") from None
        if not marker.flush:
            raise BadInput("flush marker: expected 'flush' to be true, got false") from None
        return marker


def _reject(event: int, item: int, body: bytes, detail: str) -> Rejected:
    return Rejected(event, item, detail, as_text(body))


def as_text(body: bytes) -> str:
    """The beginning of a body, whatever is in it, for a dead letter."""
    return body[:MAX_BODY_CHARS].decode("utf-8", "backslashreplace")


def _columns(rows: list[Reading | FlushMarker], event: Int64, item: Int64, rejected: list[Rejected]) -> Decoded:
    """Transpose; rows whose time lies outside the calendar are rejected here."""
    try:
        # The common case, without a branch per row: readings only.
        sensor = [row.sensor for row in rows]  # type: ignore[union-attr]  # of a marker: AttributeError below
        value = [row.value for row in rows]  # type: ignore[union-attr]  # as above
        times: list[Any] = [row.ts for row in rows]  # type: ignore[union-attr]  # as above
    except AttributeError:
        sensor = [row.sensor if isinstance(row, Reading) else "" for row in rows]
        value = [row.value if isinstance(row, Reading) else np.nan for row in rows]
        times = [row.ts if isinstance(row, Reading) else 0.0 for row in rows]
    decoded = Decoded(
        device=[row.device for row in rows],
        sensor=sensor,
        ts_us=np.empty(0, dtype=np.int64),
        value=np.fromiter(value, dtype=np.float64, count=len(value)),
        event=event,
        item=item,
        rejected=rejected,
    )
    try:
        decoded.ts_us = _epoch_us_of_all(times)
    except BadInput:
        return _without_impossible_times(decoded, rows, times)
    return decoded


def _epoch_us_of_all(times: list[Any]) -> Int64:
    """`models.contracts.epoch_us` of every time; raises BadInput if any of them is outside its range."""
    try:
        seconds = np.fromiter(times, dtype=np.float64, count=len(times))
    except TypeError:  # a datetime among them
        return np.array([epoch_us(ts) for ts in times], dtype=np.int64)
    with np.errstate(over="ignore"):
        us = np.rint(np.where(seconds < MILLISECONDS_FROM, seconds, seconds / 1000.0) * 1e6)
    if len(us) and not (us.min() >= 0 and us.max() <= MAX_EPOCH_US):
        raise BadInput("ts out of range")
    return us.astype(np.int64)


def _without_impossible_times(
    decoded: Decoded, rows: list[Reading | FlushMarker], times: list[datetime | float]
) -> Decoded:
    keep, ts_us = [], []
    for i, ts in enumerate(times):
        try:
            ts_us.append(epoch_us(ts))
            keep.append(i)
        except BadInput as error:
            event, item = int(decoded.event[i]), int(decoded.item[i])
            decoded.rejected.append(_reject(event, item, msgspec.json.encode(rows[i]), str(error)))
    return Decoded(
        device=[decoded.device[i] for i in keep],
        sensor=[decoded.sensor[i] for i in keep],
        ts_us=np.array(ts_us, dtype=np.int64),
        value=decoded.value[keep],
        event=decoded.event[keep],
        item=decoded.item[keep],
        rejected=decoded.rejected,
    )
