"""Opening a partition's folder: what a crash left unfinished is put right, what is damaged is refused."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from ..errors import CannotStart
from ..settings import LogSettings
from .batch import BatchHeader
from .checkpoint import ProducerSnapshot, mark_path, read_mark, read_snapshot, remove_snapshot
from .compaction import SUFFIX
from .damage import SoundBatch
from .files import sync_directory
from .flushed import read_flushed
from .producers import ProducerWindow
from .segment import Segment
from .start_offset import read_start_offset, write_start_offset

_log = logging.getLogger(__name__)


def recover(directory: Path, settings: LogSettings, producers: ProducerWindow) -> tuple[int, list[Segment]]:
    """The first offset that was not deleted on request, and the segments, at least one.

    `producers` is told of every batch. Raises CannotStart for what only a human can decide.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for unfinished in directory.glob(f"*{SUFFIX}"):
        unfinished.unlink()
    paths = sorted(each for each in directory.glob("*.log") if each.stem.isdecimal())
    start_offset = read_start_offset(directory)
    flushed = read_flushed(directory)
    if not paths:
        _refuse_missing(directory, start_offset, flushed)
        segment = Segment.create(directory, start_offset, settings.index_interval_bytes)
        segment.sync()
        return start_offset, [segment]
    snapshot = read_snapshot(directory)
    segments = _open(paths, settings, producers, snapshot, flushed)
    if snapshot is not None and segments[-1].next_offset < snapshot.next_offset:
        # The end of the log is gone, and with it batches that the snapshot would take for stored.
        for segment in segments:
            segment.close()
        remove_snapshot(directory)
        sync_directory(directory)
        segments = _open(paths, settings, producers, None, flushed)
    if segments[0].base_offset > 0:
        producers.forget_past()
    if start_offset > segments[-1].next_offset:
        start_offset = segments[-1].next_offset
        write_start_offset(directory, start_offset)
    return start_offset, segments


def _refuse_missing(last: Path, end_offset: int, flushed: int) -> None:
    """A file may also end too early between two batches, or be gone."""
    if end_offset < flushed:
        raise CannotStart(
            f"{last} ends before offset {end_offset}, but all records before offset {flushed} had been flushed: the "
            "end of the file, or a later file, is missing. Restore it from a copy, or go on without: "
            f"python -m infra.local.eventhubs cut {last}"
        )


def _open(
    paths: Sequence[Path],
    settings: LogSettings,
    producers: ProducerWindow,
    snapshot: ProducerSnapshot | None,
    flushed: int,
) -> list[Segment]:
    """The segments in order. Only what the snapshot of producers covers need not be read batch by batch."""
    producers.restore(snapshot)
    known_until = snapshot.next_offset if snapshot is not None else 0

    def note(header: BatchHeader) -> None:
        if header.base_offset >= known_until:
            producers.note(header)

    segments: list[Segment] = []
    with contextlib.ExitStack() as opened:
        for path in paths:
            if segments and int(path.stem) < segments[-1].next_offset:
                _remove_covered(path, segments[-1])
                continue
            if segments and int(path.stem) != segments[-1].next_offset:
                raise CannotStart(
                    f"{path} does not follow offset {segments[-1].next_offset - 1}, where the segment before it "
                    "ends: a file, or the end of one, is missing. Restore it from a copy, or move the earlier "
                    "segments away to go on without them."
                )
            mark = read_mark(path)
            if mark is not None and mark.next_offset > known_until:
                mark = None
            segment = Segment.scan(path, settings.index_interval_bytes, on_batch=note, mark=mark)
            opened.callback(segment.close)
            segments.append(segment)
            if segment.unsound_bytes:
                _refuse_damage(segment, last=path == paths[-1], flushed=flushed)
                _cut_unfinished(segment)
        _refuse_missing(paths[-1], segments[-1].next_offset, flushed)
        opened.pop_all()
    return segments


def _refuse_damage(segment: Segment, *, last: bool, flushed: int) -> None:
    """CannotStart unless what does not hold is a write that a crash cut short.

    That it can be at the end of the last segment only. Anywhere else it is damage to acknowledged records, and so is
    what lies below the offset `flushed`, or has a whole batch behind it.
    """
    behind = segment.sound_batch_behind() if last else None
    if last and behind is None and segment.next_offset >= flushed:
        return
    raise CannotStart(
        f"{segment.path} is damaged at byte {segment.size}, before offset {segment.next_offset}, and "
        f"{_why_damaged(behind, last=last)}, so nothing was cut. Restore the file from a copy"
        f"{'' if last else ', or move this and all earlier segments of the partition away'}, or go on without "
        f"what follows, which is kept beside it: python -m infra.local.eventhubs cut {segment.path}"
    )


def _why_damaged(behind: SoundBatch | None, *, last: bool) -> str:
    if not last:
        return "later segments exist: these records were acknowledged"
    if behind is None:
        return "these records had been flushed: they were acknowledged"
    return (
        f"a whole batch follows at byte {behind.position} (offset {behind.base_offset}): either acknowledged records "
        "were damaged, or the machine lost power within a flush and none of these were acknowledged"
    )


def _cut_unfinished(segment: Segment) -> None:
    cut = segment.cut_unsound()
    _log.warning(
        "%s: cut %d of %d bytes that a crash left unfinished after offset %d",
        segment.path,
        cut,
        segment.size + cut,
        segment.next_offset - 1,
    )


def _remove_covered(path: Path, compacted: Segment) -> None:
    """Finish a compaction that a crash interrupted: the segment before this one holds what of it is needed."""
    _log.info("%s: removed, %s has taken its place", path, compacted.path.name)
    path.unlink(missing_ok=True)
    mark_path(path).unlink(missing_ok=True)
    sync_directory(path.parent)
