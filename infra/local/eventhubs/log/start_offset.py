"""The offset below which records were deleted on request, kept in a small file beside the segments."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import CannotStart, StorageFailed
from .files import sync_directory

_NAME = "log-start"


def read_start_offset(directory: Path) -> int:
    """The first offset that was not deleted; 0 if nothing ever was."""
    path = directory / _NAME
    if not path.exists():
        return 0
    text = path.read_text(errors="replace").strip()
    if not (text.isascii() and text.isdecimal()):
        raise CannotStart(
            f"{path} should hold one number, the first offset to keep; write it anew, or remove the file"
        )
    return int(text)


def write_start_offset(directory: Path, offset: int) -> None:
    """Note the first offset to keep; durable on return. StorageFailed leaves the old one."""
    fresh = directory / f"{_NAME}.new"
    try:
        with fresh.open("w") as file:
            file.write(f"{offset}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(directory / _NAME)
        sync_directory(directory)
    except OSError as error:
        raise StorageFailed(f"{directory}: {error.strerror}; nothing was deleted") from error
