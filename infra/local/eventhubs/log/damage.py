"""Telling a write that a crash cut short from damage: does anything sound follow the bad place?

Appends go to the end of one file in order, so a killed process leaves at most one unfinished batch, and nothing
behind it. A power cut may leave unflushed pages in any order: a batch that was never acknowledged can then be whole
behind a hole. That cannot be told from damage to acknowledged records, so it is treated as such, and a human decides.
"""

from __future__ import annotations

import mmap
from typing import NamedTuple

from .batch import HEADER_BYTES, STORED_MARK, STORED_MARK_AT, is_stored, read_header


class SoundBatch(NamedTuple):
    """Where a whole batch lies."""

    position: int
    base_offset: int


def sound_batch_after(fd: int, bad_at: int, size: int, least_offset: int) -> SoundBatch | None:
    """The first whole batch at or behind the bad place at byte `bad_at` of a segment of `size` bytes, if any.

    At the bad place itself it is one that does not follow the batch before it: those between are gone. It must be as
    the log writes batches, and of `least_offset` or later: what an older one is doing there, it was not acknowledged
    there.
    """
    with mmap.mmap(fd, size, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
        found = data.find(STORED_MARK, bad_at + STORED_MARK_AT)
        while found >= 0:
            start = found - STORED_MARK_AT
            if size - start >= HEADER_BYTES:
                header = read_header(view, start)
                end = start + header.size
                if header.size >= HEADER_BYTES and end <= size and header.base_offset >= least_offset:
                    with view[start:end] as batch:
                        if is_stored(header, batch):
                            return SoundBatch(start, header.base_offset)
            found = data.find(STORED_MARK, found + 1)
    return None
