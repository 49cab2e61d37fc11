"""What readers of a partition see: segments in a row, up to the high watermark."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from .batch import count_records, end_of, read_header
from .segment import Segment


class End(NamedTuple):
    """How far readers may see."""

    offset: int
    segment: Segment
    position: int


class ReadableLog:
    """The reading half of a partition. Offsets count records from 0."""

    def __init__(self, start_offset: int, segments: list[Segment]) -> None:
        self._start_offset = start_offset
        self._segments = segments
        self._readable = self._end()

    def _end(self) -> End:
        active = self._segments[-1]
        return End(active.next_offset, active, active.size)

    @property
    def start_offset(self) -> int:
        """The first offset that is still kept."""
        return max(self._start_offset, self._segments[0].base_offset)

    @property
    def high_watermark(self) -> int:
        """The offset after the last record that readers may see."""
        return self._readable.offset

    @property
    def end_offset(self) -> int:
        """The offset that the next record gets."""
        return self._segments[-1].next_offset

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self._segments)

    def read(self, offset: int, max_bytes: int) -> bytes:
        """Whole batches from the one that holds `offset`, at most `max_bytes` but at least one; b"" at the end.

        `offset` lies between `start_offset` and `high_watermark`.
        """
        data = b""
        while offset < self._readable.offset:
            segment = self._segment_of(offset)
            position = segment.locate(offset)
            stop = segment.boundary(position, max_bytes, self._readable_size(segment))
            data += segment.read(position, stop - position)
            if read_header(data).record_count or count_records(data):
                break
            # Compaction left nothing here but empty batches. Readers get them with the first records that follow.
            offset = end_of(data)
        return data

    def bytes_after(self, offset: int) -> int:
        """How many bytes a reader at `offset` could have now."""
        if offset >= self._readable.offset:
            return 0
        first = self._segment_of(offset)
        total = self._readable_size(first) - first.locate(offset)
        return total + sum(
            self._readable_size(segment)
            for segment in self._segments
            if first.base_offset < segment.base_offset <= self._readable.segment.base_offset
        )

    def _segment_of(self, offset: int) -> Segment:
        return self._segments[bisect_right(self._segments, offset, key=lambda segment: segment.base_offset) - 1]

    def _readable_size(self, segment: Segment) -> int:
        return self._readable.position if segment is self._readable.segment else segment.size

    def find_time(self, timestamp_ms: int) -> tuple[int, int] | None:
        """Offset and append time of the first readable record appended at or after the time."""
        for segment in self._segments:
            if segment.max_timestamp < timestamp_ms:
                continue
            header = segment.locate_time(timestamp_ms, self.start_offset)
            if header is None:
                continue  # compaction left nothing of what was so late
            if header.base_offset >= self._readable.offset:
                return None
            return max(header.base_offset, self.start_offset), header.max_timestamp
        return None
