"""Log compaction: of every key only the last record is kept, under its own offset.

Closed segments are read, filtered into new files, flushed, and then put in place by a rename. Until that rename
the old files are what counts, so a crash at any moment leaves a whole log: unfinished files are removed at the next
start, and so are old segments that a renamed one covers already.

Offsets stay contiguous for recovery's sake: where batches went, one empty batch spans the offsets they had, as
Kafka's own cleaner leaves empty batches. Batches that idempotent producers may still repeat are emptied one by one
and keep their sequence numbers.

A tombstone (a key without a value) stays for `delete.retention.ms` after the pass that first saw it, so that readers
on their way through the log meet it; the time is kept in the batch, as in KIP-534.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .batch import HEADER_BYTES, BatchHeader, compose, delete_horizon_ms, read_header, with_delete_horizon
from .records import RecordPlace, places, readable_payload, stored_payload
from .segment import Segment

SUFFIX = ".compacting"
_WRITE_BYTES = 1024 * 1024
_MOST_OFFSETS = 2**31 - 1
_CODEC_AND_HORIZON = 0x47


class Stopped(Exception):
    """The hub is closing: the pass was given up, nothing has changed."""


class Replacement(NamedTuple):
    """A compacted, flushed segment in a file of a temporary name, and the segments whose place it is to take."""

    old: tuple[Segment, ...]
    new: Segment


@dataclass(frozen=True, slots=True)
class CompactionPass:
    """One pass over the closed segments of a partition. It runs in a thread and touches none of their files."""

    directory: Path
    segments: Sequence[Segment]
    remembered: frozenset[int]
    """Base offsets of the batches that idempotent producers may repeat."""
    now_ms: int
    delete_retention_ms: int
    segment_bytes: int
    index_interval_bytes: int
    stopped: Callable[[], bool]
    _last: dict[bytes, int] = field(default_factory=dict)

    def run(self) -> list[Replacement]:
        """The new segments, in order; those that would not change are left out.

        Raises Unreadable when a batch is compressed so that its keys cannot be read: nothing may be dropped then.
        """
        for segment in self.segments:
            for header, batch in self._batches(segment):
                for place in _places(header, batch):
                    if place.key is not None:
                        self._last[place.key] = header.base_offset + place.offset_delta
        done: list[Replacement] = []
        try:
            for group in self._groups():
                replacement = self._compact(group)
                if replacement is not None:
                    done.append(replacement)
        except BaseException:
            for replacement in done:
                replacement.new.remove()
            raise
        return done

    def _groups(self) -> Iterator[tuple[Segment, ...]]:
        """Segments that together are no larger than one may be, so that many small ones become one."""
        group: list[Segment] = []
        for segment in self.segments:
            if group and sum(each.size for each in group) + segment.size > self.segment_bytes:
                yield tuple(group)
                group = []
            group.append(segment)
        if group:
            yield tuple(group)

    def _compact(self, group: tuple[Segment, ...]) -> Replacement | None:
        path = group[0].path.with_suffix(SUFFIX)
        path.unlink(missing_ok=True)
        fresh = Segment.create_at(path, group[0].base_offset, self.index_interval_bytes)
        try:
            batches = (each for segment in group for each in self._batches(segment))
            self._write(fresh, self._spanned(batches))
            if fresh.size == sum(segment.size for segment in group) and len(group) == 1:
                fresh.remove()
                return None
            fresh.sync()
        except BaseException:
            fresh.remove()
            raise
        return Replacement(group, fresh)

    def _write(self, fresh: Segment, batches: Iterable[bytes]) -> None:
        pending: list[bytes] = []
        waiting = 0
        for batch in batches:
            pending.append(batch)
            waiting += len(batch)
            if waiting >= _WRITE_BYTES:
                fresh.append_all(pending)
                pending, waiting = [], 0
        fresh.append_all(pending)

    def _spanned(self, batches: Iterable[tuple[BatchHeader, memoryview]]) -> Iterator[bytes]:
        """What is kept of the batches, with runs of dropped ones replaced by an empty one."""
        gap: BatchHeader | None = None
        for header, batch in batches:
            kept = self._filtered(header, batch)
            if kept is not None:
                if gap is not None:
                    yield compose(gap, b"")
                    gap = None
                yield kept
                continue
            if gap is not None and header.next_offset - gap.base_offset > _MOST_OFFSETS:
                yield compose(gap, b"")
                gap = None
            gap = _empty(header, header.base_offset if gap is None else gap.base_offset)
        if gap is not None:
            yield compose(gap, b"")

    def _filtered(self, header: BatchHeader, batch: memoryview) -> bytes | None:
        """The batch without its outdated records; None when nothing of it is needed."""
        horizon_ms = delete_horizon_ms(header)
        keep: list[RecordPlace] = []
        keeps_tombstone = False
        for place in _places(header, batch):
            if place.key is not None:
                if self._last[place.key] > header.base_offset + place.offset_delta:
                    continue
                if place.is_tombstone:
                    if horizon_ms is not None and horizon_ms <= self.now_ms:
                        continue
                    keeps_tombstone = True
            keep.append(place)
        if not keep:
            return compose(_emptied(header), b"") if header.base_offset in self.remembered else None
        needs_horizon = keeps_tombstone and horizon_ms is None
        if len(keep) == header.record_count and not needs_horizon:
            return bytes(batch)
        if needs_horizon:
            header = with_delete_horizon(header, self.now_ms + self.delete_retention_ms)
        payload = readable_payload(batch[HEADER_BYTES:], header.attributes)
        records = b"".join(payload[place.start : place.end] for place in keep)
        return compose(header._replace(record_count=len(keep)), stored_payload(records, header.attributes))

    def _batches(self, segment: Segment) -> Iterator[tuple[BatchHeader, memoryview]]:
        """The batches of a closed segment, through a view of the file that retention cannot take away."""
        if segment.size == 0:
            return
        with segment.path.open("rb") as file, mmap.mmap(file.fileno(), segment.size, access=mmap.ACCESS_READ) as data:
            at = 0
            while at < segment.size:
                if self.stopped():
                    raise Stopped
                header = read_header(data[at : at + HEADER_BYTES])
                yield header, memoryview(data[at : at + header.size])
                at += header.size


def _places(header: BatchHeader, batch: memoryview) -> Iterator[RecordPlace]:
    if header.record_count == 0:
        return iter(())
    return places(readable_payload(batch[HEADER_BYTES:], header.attributes), header.record_count)


def _emptied(header: BatchHeader) -> BatchHeader:
    """The same place and sequence numbers, without records."""
    return header._replace(record_count=0, attributes=header.attributes & ~_CODEC_AND_HORIZON)


def _empty(header: BatchHeader, base_offset: int) -> BatchHeader:
    """An empty batch from `base_offset` to the end of `header`'s, of no producer."""
    return _emptied(header)._replace(
        base_offset=base_offset,
        last_offset_delta=header.next_offset - 1 - base_offset,
        base_timestamp=header.max_timestamp,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
    )
