"""Marks that spare a restart the reading of every batch: what is already known of a file's beginning.

A mark is a hint and never trusted on its word: it holds the checksum of all the bytes it speaks of, and is used only
if the file still has them. Checking that is far faster than reading batch by batch when batches are small. Marks are
therefore not flushed; without them, or with wrong ones, recovery reads everything as ever.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
from crc32c import crc32c

CHECKPOINT_BYTES = 8 * 1024 * 1024
"""A partition makes its marks anew whenever so much was appended."""
_CRC_BYTES = 4
_READ_BYTES = 4 * 1024 * 1024
_SNAPSHOT = "producers.snapshot"
_Content = TypeVar("_Content")


class SegmentMark(msgspec.Struct, frozen=True, array_like=True):
    """The first `size` bytes of a segment, their checksum, and the index of them (three arrays of 64-bit numbers)."""

    size: int
    crc: int
    next_offset: int
    max_timestamp: int
    indexed_until: int
    offsets: bytes
    positions: bytes
    times: bytes

    def holds(self, fd: int) -> bool:
        """Whether the file still begins with the bytes the mark was made of."""
        if os.fstat(fd).st_size < self.size:
            return False
        crc = at = 0
        while at < self.size:
            piece = os.pread(fd, min(_READ_BYTES, self.size - at), at)
            if not piece:
                return False
            crc = crc32c(piece, crc)
            at += len(piece)
        return crc == self.crc


class StoredBatch(NamedTuple):
    """A batch of an idempotent producer that is in the log already."""

    base_sequence: int
    last_sequence: int
    base_offset: int
    next_offset: int
    append_ms: int


class StoredProducer(msgspec.Struct, frozen=True, array_like=True):
    """A producer's epoch and last batches, oldest first."""

    producer_id: int
    epoch: int
    batches: list[StoredBatch]


class ProducerSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of idempotent producers from all batches below `next_offset`."""

    next_offset: int
    past_is_whole: bool
    producers: list[StoredProducer]


def mark_path(segment: Path) -> Path:
    """Where the mark of a segment lies."""
    return segment.with_suffix(".index")


def read_mark(segment: Path) -> SegmentMark | None:
    """The segment's mark, if there is a readable one."""
    return _read(mark_path(segment), SegmentMark)


def write_mark(segment: Path, mark: SegmentMark) -> None:
    """Put the mark beside its segment; if the disk refuses, there is none."""
    _write(mark_path(segment), mark)


def read_snapshot(directory: Path) -> ProducerSnapshot | None:
    """What was remembered of producers, if it can be read."""
    return _read(directory / _SNAPSHOT, ProducerSnapshot)


def write_snapshot(directory: Path, snapshot: ProducerSnapshot) -> None:
    """Keep what is remembered of producers; if the disk refuses, it is found out from the batches."""
    _write(directory / _SNAPSHOT, snapshot)


def remove_snapshot(directory: Path) -> None:
    """Forget what was remembered."""
    (directory / _SNAPSHOT).unlink(missing_ok=True)


def _read(path: Path, kind: type[_Content]) -> _Content | None:
    try:
        data = path.read_bytes()
        if crc32c(data[_CRC_BYTES:]) != int.from_bytes(data[:_CRC_BYTES], "big"):
            return None
        return msgspec.msgpack.decode(data[_CRC_BYTES:], type=kind)
    except (OSError, msgspec.DecodeError):
        return None


def _write(path: Path, content: msgspec.Struct) -> None:
    payload = msgspec.msgpack.encode(content)
    fresh = path.with_name(f"{path.name}.new")
    with contextlib.suppress(OSError):
        fresh.write_bytes(crc32c(payload).to_bytes(_CRC_BYTES, "big") + payload)
        fresh.replace(path)
