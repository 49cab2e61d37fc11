"""Record batches in the log's format, made and read: the AMQP side has no Kafka client to do it.

Layout: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from crc32c import crc32c

from ..log.batch import HEADER_BYTES, LENGTH_OVERHEAD, read_header

_UNCHECKED = struct.Struct(">qiibI")
_CHECKED = struct.Struct(">hiqqqhii")
_COMPRESSION_MASK = 0x07
_GZIP = 1
_ANY_GZIP_WINDOW = 47
_MAX_DECOMPRESSED_BYTES = 64 * 1024 * 1024
_VARINT_LIMIT = 70


class MalformedRecords(Exception):
    """A stored batch cannot be read; the message names the offset."""


class Header(NamedTuple):
    """A record header."""

    key: str
    value: bytes | None


class Record(NamedTuple):
    """A record without its place."""

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


class StoredRecord(NamedTuple):
    """A record at its place; `append_ms` is epoch milliseconds."""

    offset: int
    append_ms: int
    record: Record


class StoredBatch(NamedTuple):
    """The records of a batch; compaction may have left fewer than its offsets."""

    next_offset: int
    records: list[StoredRecord]


def encode_batches(records: Sequence[Record], now_ms: int, max_bytes: int) -> list[bytes]:
    """The records in as few batches as may be stored; one that is too large alone is left to the log to refuse.

    In this format a full AMQP batch of tiny events can be a little larger than it was.
    """
    batch = encode_batch(records, now_ms)
    if len(batch) <= max_bytes or len(records) == 1:
        return [batch]
    half = len(records) // 2
    return [
        *encode_batches(records[:half], now_ms, max_bytes),
        *encode_batches(records[half:], now_ms, max_bytes),
    ]


def encode_batch(records: Sequence[Record], now_ms: int) -> bytes:
    """One uncompressed batch, as a producer without idempotence sends it."""
    body = b"".join([_encode_record(delta, record) for delta, record in enumerate(records)])
    checked = _CHECKED.pack(0, len(records) - 1, now_ms, now_ms, -1, -1, -1, len(records))
    crc = crc32c(body, crc32c(checked))
    length = HEADER_BYTES - LENGTH_OVERHEAD + len(body)
    return _UNCHECKED.pack(0, length, -1, 2, crc) + checked + body


def _varint(value: int) -> bytes:
    value = value << 1 if value >= 0 else (-value << 1) - 1
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_NULL = _varint(-1)
_SMALL = tuple(_varint(number) for number in range(2048))


def _encode_record(delta: int, record: Record) -> bytes:
    key, value, headers = record
    body = b"".join(
        (
            b"\0\0",  # attributes and time delta: none
            _SMALL[delta] if delta < len(_SMALL) else _varint(delta),
            _sized(key),
            _sized(value),
            _encode_headers(headers) if headers else b"\0",
        )
    )
    return _sized(body)


def _sized(data: bytes | None) -> bytes:
    if data is None:
        return _NULL
    size = len(data)
    return (_SMALL[size] if size < len(_SMALL) else _varint(size)) + data


def _encode_headers(headers: Sequence[Header]) -> bytes:
    parts = [_varint(len(headers))]
    for name, content in headers:
        parts += (_sized(name.encode()), _sized(content))
    return b"".join(parts)


def decode_batches(data: bytes) -> Iterator[StoredBatch]:
    """Each whole batch in `data`; MalformedRecords if one cannot be read."""
    position = 0
    while position < len(data):
        header = read_header(data, position)
        body = data[position + HEADER_BYTES : position + header.size]
        try:
            content = _decompressed(body, header.attributes & _COMPRESSION_MASK)
            records = _Cursor(content).records(header.record_count, header.base_offset, header.max_timestamp)
        except (IndexError, ValueError, zlib.error) as error:
            raise MalformedRecords(
                f"the batch at offset {header.base_offset} cannot be read ({error}); start after offset "
                f"{header.next_offset - 1} to go on"
            ) from error
        yield StoredBatch(header.next_offset, records)
        position += header.size


def _decompressed(body: bytes, codec: int) -> bytes:
    if codec == 0:
        return body
    if codec != _GZIP:
        raise ValueError("Event Hubs knows gzip only, the producer used another compression")
    decompressor = zlib.decompressobj(_ANY_GZIP_WINDOW)
    content = decompressor.decompress(body, _MAX_DECOMPRESSED_BYTES)
    if decompressor.unconsumed_tail or not decompressor.eof:
        raise ValueError("the compressed data is cut, or too large")
    return content


class _Cursor:
    """Reads record fields one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def records(self, count: int, base_offset: int, append_ms: int) -> list[StoredRecord]:
        records = []
        for _ in range(count):
            end = self._varint() + self._at
            self._at += 1  # attributes
            self._varint()  # time delta: append time counts
            offset = base_offset + self._varint()
            record = Record(self._bytes(), self._bytes(), self._headers())
            if self._at != end:
                raise ValueError("a record's length does not fit")
            records.append(StoredRecord(offset, append_ms, record))
        return records

    def _varint(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        if byte < 0x80:
            return (byte >> 1) ^ -(byte & 1)
        value, shift = byte & 0x7F, 7
        while byte >= 0x80:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > _VARINT_LIMIT:
                raise ValueError("a number has too many bytes")
        return (value >> 1) ^ -(value & 1)

    def _bytes(self) -> bytes | None:
        length = self._varint()
        if length < 0:
            return None
        start, self._at = self._at, self._at + length
        if self._at > len(self._data):
            raise ValueError("a field ends after the batch")
        return self._data[start : self._at]

    def _headers(self) -> tuple[Header, ...]:
        count = self._varint()
        if not count:
            return ()
        if count > len(self._data):
            raise ValueError(f"{count} headers cannot lie in {len(self._data)} bytes")
        return tuple(Header((self._bytes() or b"").decode(), self._bytes()) for _ in range(count))
