"""The records inside a batch, as far as compaction must know them: where each lies, its key, whether it has a value.

Layout: https://kafka.apache.org/documentation/#record
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import MalformedBatch
from .batch import HEADER_BYTES

_NONE, _GZIP = 0, 1
_CODEC_MASK = 0x07
_LONGEST_VARINT_SHIFT = 63
_GZIP_WINDOW = 31
_MAX_DECOMPRESSED_BYTES = 64 * 1024 * 1024


class Unreadable(Exception):
    """The records are compressed by a codec outside the standard library, or are no records."""


class RecordPlace(NamedTuple):
    """A record within the decompressed payload of its batch."""

    start: int
    end: int
    offset_delta: int
    key: bytes | None
    is_tombstone: bool


def readable_payload(payload: memoryview, attributes: int) -> memoryview:
    """The records' bytes, decompressed; Unreadable for codecs other than gzip."""
    codec = attributes & _CODEC_MASK
    if codec == _NONE:
        return payload
    if codec != _GZIP:
        raise Unreadable(f"compression {codec}")
    decompressor = zlib.decompressobj(_GZIP_WINDOW)
    try:
        content = decompressor.decompress(payload, _MAX_DECOMPRESSED_BYTES)
    except zlib.error as error:
        raise Unreadable(str(error)) from error
    if not decompressor.eof:
        raise Unreadable(f"the compressed data is cut, or more than {_MAX_DECOMPRESSED_BYTES} bytes")
    return memoryview(content)


def stored_payload(records: bytes, attributes: int) -> bytes:
    """The records' bytes as they are stored: compressed as the batch was."""
    return gzip.compress(records, 6, mtime=0) if attributes & _CODEC_MASK == _GZIP else records


def places(payload: memoryview, count: int) -> Iterator[RecordPlace]:
    """The `count` records of a decompressed payload, in order; Unreadable if they are not there."""
    at = 0
    try:
        for _ in range(count):
            start = at
            length, body = _varint(payload, at)
            _, at = _varint(payload, body + 1)  # time; the byte before it is unused attributes
            offset_delta, at = _varint(payload, at)
            key_length, at = _varint(payload, at)
            key = None
            if key_length >= 0:
                key, at = bytes(payload[at : at + key_length]), at + key_length
            value_length, at = _varint(payload, at)
            end = body + length
            if length < 0 or not at <= end <= len(payload):
                raise Unreadable("a record reaches beyond its batch")
            at = end
            yield RecordPlace(start, end, offset_delta, key, value_length < 0)
    except IndexError as error:
        raise Unreadable("the batch ends within a record") from error


def check_keys(records: bytes, attributes: int, count: int) -> None:
    """Refuse a produced batch with a record that has no key. What cannot be read here is taken on trust."""
    try:
        payload = readable_payload(memoryview(records)[HEADER_BYTES:], attributes)
        keyless = any(place.key is None for place in places(payload, count))
    except Unreadable:
        return
    if keyless:
        raise MalformedBatch("every record of a compacted topic needs a key")


def _varint(buffer: memoryview, at: int) -> tuple[int, int]:
    """A zigzag-coded number and the position after it."""
    result = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (result >> 1) ^ -(result & 1), at
        shift += 7
        if shift > _LONGEST_VARINT_SHIFT:
            raise Unreadable("a number has too many bytes")
