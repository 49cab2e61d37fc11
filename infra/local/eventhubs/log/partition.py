"""One partition: appending to it, making it durable and readable, and giving up what need not be kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import OffsetOutOfRange, StorageFailed
from ..settings import LogSettings
from .batch import check_produced, stamp
from .checkpoint import CHECKPOINT_BYTES, write_snapshot
from .compaction import CompactionPass, Replacement
from .files import sync_directory
from .flush import Flusher, FlushJob, Ticket
from .flushed import FlushedOffset, read_flushed
from .producers import ProducerWindow
from .reading import End, ReadableLog
from .records import check_keys
from .recovery import recover
from .segment import Segment
from .start_offset import write_start_offset

_log = logging.getLogger(__name__)
_REFUSAL_MEMORY_MS = 60_000


class Appended(NamedTuple):
    """Where a batch lies. It is to be acknowledged after `PartitionLog.settled`."""

    base_offset: int
    next_offset: int
    append_ms: int
    ticket: Ticket | None


class PartitionLog(ReadableLog):
    """An append-only sequence of record batches.

    Offsets count records from 0. Readers see batches below `high_watermark`, which under group commit moves only
    after the flush: what a consumer has acted upon is never taken back by a power cut. Append times never decrease.
    """

    def __init__(self, directory: Path, settings: LogSettings, flusher: Flusher) -> None:
        self.watchers: set[Callable[[], None]] = set()
        """Called whenever the high watermark moves."""
        self._directory = directory
        self._settings = settings
        self._flusher = flusher
        self._producers = ProducerWindow()
        self._unflushed: set[Segment] = set()
        self._last_ticket: Ticket | None = None
        self._failure: str | None = None
        self._refusal: tuple[int, str] | None = None
        """When an append was last refused by the disk, and why, unless a later one was stored."""
        self._closed = False
        self._clean_until = 0
        super().__init__(*recover(directory, settings, self._producers))
        self._last_append_ms = max(segment.max_timestamp for segment in self._segments)
        self._flushed = FlushedOffset(directory)
        if flusher.waits and self.end_offset > read_flushed(directory):
            # A process that was killed may have left writes that no flush has followed, and readers are to see them.
            self._segments[-1].sync()
            self._flushed.note(self.end_offset)

    @property
    def failure(self) -> str | None:
        """Why the partition takes nothing until a restart, if so."""
        return self._failure

    def trouble(self, now_ms: int) -> str | None:
        """Why the partition takes nothing: its `failure`, or else why an append was refused less than a minute ago.

        A refusal, as by a full disk, ends with the next append that is stored. Nothing may depend on it but what
        people are shown: what deletes old segments, for one, must go on.
        """
        if self._failure is None and self._refusal is not None and self._refusal[0] > now_ms - _REFUSAL_MEMORY_MS:
            return self._refusal[1]
        return self._failure

    @property
    def last_append_ms(self) -> int:
        """When the last record was appended, -1 if never."""
        return self._last_append_ms

    def append(self, records: bytes, now_ms: int) -> Appended:
        """Store one produced record batch, stamped with the append time; a repeated one is not stored again.

        Raises a BatchRefused for what must not be stored, and StorageFailed, after which the log is as before.
        """
        batch = check_produced(records, self._settings.max_batch_bytes)
        if self._settings.needs_keys:
            check_keys(records, batch.attributes, batch.record_count)
        if self._failure is not None:
            raise StorageFailed(self._failure)
        repeated = self._producers.check(batch)
        if repeated is not None:
            # Its first copy may still be waiting for the disk, and so must this acknowledgement.
            return Appended(repeated.base_offset, repeated.next_offset, repeated.append_ms, self._last_ticket)
        append_ms = max(now_ms, self._last_append_ms)
        try:
            active = self._active_for(batch.size)
            header, pieces = stamp(records, batch, active.next_offset, append_ms)
            active.append(header, pieces)
        except StorageFailed as error:
            self._refusal = (now_ms, str(error))
            raise
        self._refusal = None
        self._last_append_ms = append_ms
        self._producers.note(header)
        if active.unmarked_bytes >= CHECKPOINT_BYTES:
            self._checkpoint()
        self._unflushed.add(active)
        self._last_ticket = self._flusher.mark(self)
        if self._last_ticket is None:
            self._make_readable(self._end())
        return Appended(header.base_offset, header.next_offset, append_ms, self._last_ticket)

    async def settled(self, appended: Appended) -> None:
        """Return when the append may be acknowledged under the flush policy, or raise StorageFailed."""
        await self._flusher.settled(appended.ticket)
        self.check_settled(appended)

    def check_settled(self, appended: Appended) -> None:
        """StorageFailed unless the append may be acknowledged; to be asked when its ticket is done."""
        if appended.ticket is not None and self.high_watermark < appended.next_offset:
            raise StorageFailed(self._failure or f"{self._directory}: the partition was deleted")

    def _active_for(self, size: int) -> Segment:
        active = self._segments[-1]
        if active.size > 0 and active.size + size > self._settings.segment_bytes:
            return self._roll()
        return active

    def _roll(self) -> Segment:
        """Begin a new segment. The old one is durable first: recovery cuts unfinished writes from the last only."""
        active = self._segments[-1]
        try:
            active.sync()
        except OSError as error:
            self._fail(error)
            raise StorageFailed(self._failure) from error
        self._checkpoint()
        try:
            segment = Segment.create(self._directory, active.next_offset, self._settings.index_interval_bytes)
        except OSError as error:
            raise StorageFailed(f"{self._directory}: {error.strerror}; nothing was stored") from error
        self._segments.append(segment)
        return segment

    def _checkpoint(self) -> None:
        """Spare the next restart the reading of what is there now."""
        if self._failure is None and self._segments[-1].unmarked_bytes:
            self._segments[-1].write_mark()
            write_snapshot(self._directory, self._producers.snapshot(self.end_offset))

    def begin_flush(self) -> FlushJob:
        """All segments written to since the last flush; afterwards they are readable."""
        segments = sorted(self._unflushed, key=lambda segment: segment.base_offset)
        self._unflushed = set()
        end, flushed = self._end(), self._flushed

        def flush() -> None:
            for segment in segments:
                segment.sync()
            flushed.note(end.offset)

        def done(failure: OSError | None) -> None:
            if failure is not None:
                self._fail(failure)
            elif self._failure is None and end.offset > self._readable.offset:
                self._make_readable(end)

        return FlushJob(flush, done)

    def _fail(self, error: OSError) -> None:
        # The kernel may have dropped the pages it could not write: only a fresh read of the file tells what is there.
        self._failure = f"{self._directory}: flushing failed ({error.strerror}); restart the hub to go on writing"
        _log.error("%s", self._failure)

    def _make_readable(self, end: End) -> None:
        self._readable = end
        for wake in tuple(self.watchers):
            wake()

    def retain(self, now_ms: int, retention_ms: int, retention_bytes: int) -> int:
        """Delete the oldest segments that are too old or too much; returns how many. -1 means no limit.

        A segment goes when its last record is too old, or when the rest alone reaches the allowed bytes.
        """
        active = self._segments[-1]
        if retention_ms >= 0 and active.size > 0 and active.max_timestamp < now_ms - retention_ms:
            self._roll()
        excess = self.size_bytes - retention_bytes if retention_bytes >= 0 else -1
        doomed = 0
        for segment in self._segments[:-1]:
            too_old = retention_ms >= 0 and segment.max_timestamp < now_ms - retention_ms
            if not (too_old or excess >= segment.size) or segment.next_offset > self._readable.offset:
                break
            excess -= segment.size
            doomed += 1
        if doomed:
            self._drop(doomed)
        return doomed

    def _drop(self, count: int) -> None:
        # The new start must be durable before the old one is gone, or a crash would leave no segment at all.
        self._segments[-1].sync()
        if self._readable.offset == self.end_offset:
            self._readable = self._end()
        for segment in self._segments[:count]:
            segment.remove()
        del self._segments[:count]
        sync_directory(self._directory)
        self._producers.forget_past()

    def delete_before(self, offset: int) -> int:
        """Give up the records below `offset` (-1: all that are readable); returns the new start, durable on return.

        Raises OffsetOutOfRange beyond the high watermark, and StorageFailed.
        """
        target = self.high_watermark if offset == -1 else offset
        if not 0 <= target <= self.high_watermark:
            raise OffsetOutOfRange(f"offset {offset} is not between 0 and the high watermark {self.high_watermark}")
        if target <= self.start_offset:
            return self.start_offset
        try:
            self._segments[-1].sync()  # the start must not be durable before the records it counts
            write_start_offset(self._directory, target)
            self._start_offset = target
            if target == self.end_offset and self._segments[-1].size > 0:
                self._roll()
            doomed = sum(segment.next_offset <= target for segment in self._segments[:-1])
            if doomed:
                self._drop(doomed)
        except OSError as error:
            self._fail(error)
            raise StorageFailed(self._failure) from error
        return self.start_offset

    def plan_compaction(
        self, now_ms: int, delete_retention_ms: int, stopped: Callable[[], bool]
    ) -> CompactionPass | None:
        """A pass for a thread to run, if enough was written since the last one; otherwise None."""
        dirty = sum(segment.size for segment in self._segments if segment.base_offset >= self._clean_until)
        if dirty < max(self._settings.compaction_bytes, self.size_bytes - dirty) or self._failure is not None:
            return None
        if self._segments[-1].size > 0 and self._readable.offset == self.end_offset:
            self._roll()
            self._readable = self._end()
        closed = [
            segment
            for segment in self._segments[:-1]
            if segment.next_offset <= self._readable.offset and segment is not self._readable.segment
        ]
        if not closed:
            return None
        self._clean_until = closed[-1].next_offset
        return CompactionPass(
            self._directory,
            closed,
            self._producers.base_offsets(),
            now_ms,
            delete_retention_ms,
            self._settings.segment_bytes,
            self._settings.index_interval_bytes,
            stopped,
        )

    def finish_compaction(self, replacements: Sequence[Replacement]) -> int:
        """Put the compacted segments in place, oldest first; returns how many bytes that freed.

        A segment that was deleted meanwhile keeps its replacement, and all later ones, from being used: tombstones
        must not go before what they delete.
        """
        freed = 0
        unused = list(replacements)
        try:
            while unused and self._still_there(unused[0].old):
                unused[0].new.rename(unused[0].old[0].path)
                freed += self._put_in_place(unused.pop(0))
        finally:
            for each in unused:
                each.new.remove()
        return freed

    def _still_there(self, old: Sequence[Segment]) -> bool:
        return not self._closed and all(any(each is segment for each in self._segments) for segment in old)

    def _put_in_place(self, done: Replacement) -> int:
        """Go on with a segment that has its file's final name already; returns the bytes freed."""
        try:
            sync_directory(self._directory)
        except OSError as error:
            # Whether the new name is durable is unknown, so nothing it covers may go. After a restart all is clear.
            done.new.close()
            self._fail(error)
            raise StorageFailed(self._failure) from error
        done.new.write_mark()
        at = self._segments.index(done.old[0])
        self._segments[at : at + len(done.old)] = [done.new]
        done.old[0].close()  # its file is gone, its name is the new one's
        for segment in done.old[1:]:
            segment.remove()
        return sum(segment.size for segment in done.old) - done.new.size

    def configure(self, settings: LogSettings) -> None:
        """Go on with these limits."""
        self._settings = settings

    def close(self) -> None:
        """Give the files back. Unflushed writes are the flusher's to finish before."""
        if not self._closed:
            self._checkpoint()
        self._closed = True
        for segment in self._segments:
            segment.close()
        self._flushed.close()
