"""One segment: a file of contiguous record batches, and a sparse index of it in memory."""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from crc32c import crc32c

from .batch import HEADER_BYTES, BatchHeader, is_stored, read_header
from .checkpoint import SegmentMark, mark_path, write_mark
from .damage import SoundBatch, sound_batch_after
from .files import cut_tail, sync_directory, write_whole

_SCAN_BYTES = 4 * 1024 * 1024
_WALK_BYTES = 64 * 1024


def segment_path(directory: Path, base_offset: int) -> Path:
    """Where the segment that starts at `base_offset` lies."""
    return directory / f"{base_offset:020d}.log"


class Segment:
    """A file of batches from `base_offset` to `next_offset`, `size` bytes long.

    The index holds, for one batch in about `index_interval_bytes`, its first offset, position and append time. All
    three only grow, so each can be searched by bisection.
    """

    def __init__(self, path: Path, base_offset: int, fd: int, index_interval_bytes: int, *, new: bool) -> None:
        self.path = path
        self.base_offset = base_offset
        self.next_offset = base_offset
        self.size = 0
        self.max_timestamp = -1
        self._crc = 0
        self._marked_bytes = 0
        self._fd = fd
        self._closing = threading.Lock()
        self._closed = False
        self._directory_dirty = new
        self._index_interval = index_interval_bytes
        self._indexed_until = -index_interval_bytes
        self._offsets = array("q")
        self._positions = array("q")
        self._times = array("q")

    @classmethod
    def create(cls, directory: Path, base_offset: int, index_interval_bytes: int) -> Segment:
        """A new, empty segment; its directory entry becomes durable with its first flush."""
        return cls.create_at(segment_path(directory, base_offset), base_offset, index_interval_bytes)

    @classmethod
    def create_at(cls, path: Path, base_offset: int, index_interval_bytes: int) -> Segment:
        """A new, empty segment in a file of any name."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        return cls(path, base_offset, fd, index_interval_bytes, new=True)

    @classmethod
    def scan(
        cls,
        path: Path,
        index_interval_bytes: int,
        *,
        on_batch: Callable[[BatchHeader], None],
        mark: SegmentMark | None = None,
    ) -> Segment:
        """The segment up to the first batch that does not hold, or to its end.

        Every batch is checked for length, contiguity and checksum, and told to `on_batch`. What a mark speaks of is
        checked as a whole and not told.
        """
        segment = cls(path, int(path.stem), os.open(path, os.O_RDWR), index_interval_bytes, new=False)
        if mark is not None and mark.holds(segment._fd):
            segment._adopt(mark)
        for header in segment._sound_batches(os.fstat(segment._fd).st_size):
            segment._note(header)
            on_batch(header)
        return segment

    def _adopt(self, mark: SegmentMark) -> None:
        self.size = self._marked_bytes = mark.size
        self._crc = mark.crc
        self.next_offset = mark.next_offset
        self.max_timestamp = mark.max_timestamp
        self._indexed_until = mark.indexed_until
        for numbers, stored in (
            (self._offsets, mark.offsets),
            (self._positions, mark.positions),
            (self._times, mark.times),
        ):
            numbers.frombytes(stored)

    @property
    def unmarked_bytes(self) -> int:
        """How much a restart would have to read batch by batch."""
        return self.size - self._marked_bytes

    def write_mark(self) -> None:
        """Spare the next restart the reading of what is there now."""
        mark = SegmentMark(
            self.size,
            self._crc,
            self.next_offset,
            self.max_timestamp,
            self._indexed_until,
            self._offsets.tobytes(),
            self._positions.tobytes(),
            self._times.tobytes(),
        )
        write_mark(self.path, mark)
        self._marked_bytes = self.size

    def _sound_batches(self, size: int) -> Iterator[BatchHeader]:
        """The batches from the start on, up to the first that is not sound. The caller notes each before the next."""
        while size - self.size >= HEADER_BYTES:
            chunk_start = self.size
            chunk = memoryview(os.pread(self._fd, _SCAN_BYTES, chunk_start))
            yield from self._sound_in_chunk(chunk, chunk_start)
            if self.size > chunk_start:
                continue
            header = read_header(chunk)
            if not _SCAN_BYTES < header.size <= size - chunk_start:
                return
            whole = memoryview(os.pread(self._fd, header.size, chunk_start))
            yield from self._sound_in_chunk(whole, chunk_start)
            if self.size == chunk_start:
                return

    def _sound_in_chunk(self, chunk: memoryview, chunk_start: int) -> Iterator[BatchHeader]:
        at = 0
        while len(chunk) - at >= HEADER_BYTES:
            header = read_header(chunk, at)
            end = at + header.size
            if (
                header.size < HEADER_BYTES
                or end > len(chunk)
                or header.base_offset != self.next_offset
                or header.last_offset_delta < 0
                or not is_stored(header, chunk[at:end])
            ):
                return
            self._crc = crc32c(chunk[at:end], self._crc)
            yield header
            at = self.size - chunk_start

    @property
    def unsound_bytes(self) -> int:
        """How much of the file lies behind the last batch that holds; 0 except after `scan`."""
        return os.fstat(self._fd).st_size - self.size

    def sound_batch_behind(self) -> SoundBatch | None:
        """A whole batch in what `scan` left, if there is one."""
        return sound_batch_after(self._fd, self.size, self.size + self.unsound_bytes, self.next_offset)

    def cut_unsound(self) -> int:
        """Cut off what does not hold, and keep it beside the file; returns how many bytes that were."""
        return cut_tail(self._fd, self.size, self.path)

    def append(self, header: BatchHeader, pieces: Sequence[bytes | memoryview]) -> None:
        """Write a stamped batch at the end. `StorageFailed` leaves the segment as it was."""
        write_whole(self._fd, pieces, self.size, str(self.path))
        for piece in pieces:
            self._crc = crc32c(piece, self._crc)
        self._note(header)

    def append_all(self, batches: Sequence[bytes]) -> None:
        """Write batches that are stamped already, by one write."""
        if batches:
            write_whole(self._fd, [b"".join(batches)], self.size, str(self.path))
        for batch in batches:
            self._crc = crc32c(batch, self._crc)
            self._note(read_header(batch))

    def _note(self, header: BatchHeader) -> None:
        self.max_timestamp = max(self.max_timestamp, header.max_timestamp)
        if self.size - self._indexed_until >= self._index_interval:
            self._offsets.append(header.base_offset)
            self._positions.append(self.size)
            self._times.append(self.max_timestamp)
            self._indexed_until = self.size
        self.size += header.size
        self.next_offset = header.next_offset

    def read(self, position: int, length: int) -> bytes:
        """The bytes at `position`."""
        return os.pread(self._fd, length, position)

    def locate(self, offset: int) -> int:
        """The position of the batch that holds `offset`, or the size when all batches lie before it."""
        entry = bisect_right(self._offsets, offset) - 1
        start = self._positions[entry] if entry >= 0 else 0
        for position, header in self._walk(start):
            if header.next_offset > offset:
                return position
        return self.size

    def locate_time(self, timestamp_ms: int, start_offset: int = 0) -> BatchHeader | None:
        """The first batch with records appended at or after the time that ends after `start_offset`, if any."""
        # The entry before the first one that is late enough: batches between the two may qualify as well.
        entry = bisect_left(self._times, timestamp_ms) - 1
        start = self._positions[entry] if entry >= 0 else 0
        for _, header in self._walk(start):
            wanted = header.max_timestamp >= timestamp_ms and header.next_offset > start_offset
            if wanted and header.record_count > 0:
                return header
        return None

    def boundary(self, position: int, limit: int, end: int) -> int:
        """The end of the last whole batch within `limit` bytes of `position`, or of the first one; at most `end`."""
        if end - position <= limit:
            return end
        entry = bisect_right(self._positions, position + limit) - 1
        if entry >= 0 and self._positions[entry] > position:
            return self._positions[entry]
        reached = position
        for start, header in self._walk(position):
            stop = start + header.size
            if reached > position and stop > position + limit:
                break
            reached = stop
        return min(reached, end)

    def _walk(self, position: int) -> Iterator[tuple[int, BatchHeader]]:
        """Positions and headers of the batches from `position`, which must be a batch's start."""
        window_start, window = position, b""
        while position < self.size:
            if position + HEADER_BYTES > window_start + len(window):
                window_start, window = position, self.read(position, _WALK_BYTES)
            header = read_header(window, position - window_start)
            yield position, header
            position += header.size

    def sync(self) -> None:
        """Flush to disk; runs in a thread, so it may meet a segment that retention has just removed."""
        with self._closing:
            if self._closed:
                return
            os.fdatasync(self._fd)
            if self._directory_dirty:
                sync_directory(self.path.parent)
                self._directory_dirty = False

    def close(self) -> None:
        """Give the file back; waits for a flush in progress."""
        with self._closing:
            if not self._closed:
                self._closed = True
                os.close(self._fd)

    def rename(self, path: Path) -> None:
        """Become the file of this name, whatever it was before."""
        self.path.replace(path)
        self.path = path

    def remove(self) -> None:
        """Close and delete the file."""
        self.close()
        self.path.unlink(missing_ok=True)
        mark_path(self.path).unlink(missing_ok=True)
