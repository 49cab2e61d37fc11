"""The offset below which a partition is known to have reached the disk, in a small file beside the segments.

It is written after each flush and not flushed itself, so it may lag behind what is durable, never run ahead of it.
Recovery uses it one way only: records below it were acknowledged, so what is wrong with them is damage and no
unfinished write. Without the file, or with a damaged one, nothing is known.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from pathlib import Path

from crc32c import crc32c

NAME = "flushed"
_OFFSET = struct.Struct(">q")
_CRC = struct.Struct(">I")


def read_flushed(directory: Path) -> int:
    """The offset; 0 if nothing is known."""
    try:
        data = (directory / NAME).read_bytes()
    except OSError:
        return 0
    content, crc = data[: _OFFSET.size], data[_OFFSET.size :]
    if len(content) < _OFFSET.size or crc != _CRC.pack(crc32c(content)):
        return 0
    (offset,) = _OFFSET.unpack(content)
    return int(offset)


def forget_flushed(directory: Path) -> None:
    """The operator has decided to go on without what was flushed."""
    (directory / NAME).unlink(missing_ok=True)


class FlushedOffset:
    """Keeps the file up to date; `note` runs in the flushing thread, and may come after `close`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._fd: int | None = None
        self._closed = False
        self._guard = threading.Lock()

    def note(self, offset: int) -> None:
        """All records below `offset` are on disk. A disk that refuses leaves the older, lower offset."""
        content = _OFFSET.pack(offset)
        with self._guard, contextlib.suppress(OSError):
            if self._closed:
                return
            if self._fd is None:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
            os.pwrite(self._fd, content + _CRC.pack(crc32c(content)), 0)

    def close(self) -> None:
        """Give the file back."""
        with self._guard:
            self._closed = True
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None
