"""The command `cut`: what an operator does about a damaged file who has no copy of it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .errors import CannotStart
from .hub import lock_data_dir
from .log.checkpoint import mark_path, remove_snapshot
from .log.files import set_aside, sync_directory
from .log.flushed import forget_flushed
from .log.journal import cut_journal
from .log.segment import Segment
from .settings import LogSettings

_REFUSED = 2


def add_cut(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its argument."""
    text = (
        "Cut a damaged file, which the hub has refused to start with, at its first damaged place. What follows is "
        "kept beside it in *.cut-* files, later segments of the partition included, and not served any more."
    )
    command = commands.add_parser("cut", help="give up what follows the damaged place of a file", description=text)
    command.add_argument("file", type=Path, help="a segment (*.log) or a journal (*.journal) of a stopped hub")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        print(cut(options.file))
    except (CannotStart, OSError) as error:
        print(f"eventhubs: nothing was cut: {error}", file=sys.stderr)
        return _REFUSED
    return 0


def cut(path: Path) -> str:
    """Cut a segment or a journal behind what holds; says what was done. CannotStart if it is neither, or in use."""
    path = path.resolve()
    lock = lock_data_dir(_data_dir(path))
    try:
        if path.suffix == ".journal":
            return f"{path}: {cut_journal(path)} bytes set aside"
        return _cut_partition(path)
    finally:
        os.close(lock)


def _data_dir(path: Path) -> Path:
    found = next((each for each in path.parents if (each / "topics.journal").exists()), None)
    is_segment = path.suffix == ".log" and path.stem.isdecimal()
    if found is None or not path.is_file() or not (is_segment or path.suffix == ".journal"):
        raise CannotStart(f"{path} is no segment (*.log) or journal (*.journal) in a hub's data directory")
    return found


def _cut_partition(path: Path) -> str:
    segment = Segment.scan(path, LogSettings().index_interval_bytes, on_batch=lambda _: None)
    try:
        cut_bytes = segment.cut_unsound() if segment.unsound_bytes else 0
        later = [each for each in path.parent.glob("*.log") if each.stem.isdecimal() and each > path]
        for each in later:
            each.rename(set_aside(each, 0))
            mark_path(each).unlink(missing_ok=True)
    finally:
        segment.close()
    mark_path(path).unlink(missing_ok=True)
    remove_snapshot(path.parent)
    forget_flushed(path.parent)
    sync_directory(path.parent)
    return (
        f"{path}: {cut_bytes} bytes and {len(later)} later segments set aside; the partition goes on at offset "
        f"{segment.next_offset}"
    )
