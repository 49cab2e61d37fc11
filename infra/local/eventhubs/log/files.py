"""Writing files so that a failure leaves what was there before."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import StorageFailed

_COPY_BYTES = 1024 * 1024


def write_whole(fd: int, pieces: Sequence[bytes | memoryview], position: int, name: str) -> int:
    """Write all pieces at `position`, the file's end, by one system call; returns the bytes written.

    When the disk takes only a part of them the file is cut back to `position` and `StorageFailed` is raised.
    """
    expected = sum(len(piece) for piece in pieces)
    try:
        written = os.pwritev(fd, pieces, position)
    except OSError as error:
        _cut(fd, position)
        raise StorageFailed(f"{name}: {error.strerror or error}; nothing was stored") from error
    if written != expected:
        _cut(fd, position)
        raise StorageFailed(f"{name}: only {written} of {expected} bytes fitted on the disk; nothing was stored")
    return written


def _cut(fd: int, position: int) -> None:
    # Should even this fail, the next write goes to the same position, and a restart cuts what is left behind it.
    with contextlib.suppress(OSError):
        os.ftruncate(fd, position)


def cut_tail(fd: int, position: int, path: Path) -> int:
    """Cut the file at `position`, keeping the cut bytes beside it; returns how many there were.

    They are kept, as `<name>.cut-<position>`, because a human may want to look into what a crash left behind; the hub
    never reads them again.
    """
    size = os.fstat(fd).st_size
    left, at = size - position, position
    with set_aside(path, position).open("xb") as aside:
        while left:
            piece = os.pread(fd, min(left, _COPY_BYTES), at)
            aside.write(piece)
            left, at = left - len(piece), at + len(piece)
        aside.flush()
        os.fsync(aside.fileno())
    os.ftruncate(fd, position)
    os.fsync(fd)
    return size - position


def set_aside(path: Path, position: int) -> Path:
    """A free name for what is cut from a file at `position`."""
    names = itertools.chain([f".cut-{position}"], (f".cut-{position}.{number}" for number in itertools.count(2)))
    return next(each for name in names if not (each := path.with_name(path.stem + name)).exists())


def sync_directory(directory: Path) -> None:
    """Make the directory's entries (files created, renamed, removed) durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
