"""The header of a Kafka v2 record batch: read it, check it, stamp it.

Batches are stored as they came, compressed or not. Three things are rewritten on append: the base offset and the
leader epoch, which lie outside the checksum, and the timestamp fields, because Event Hubs stamps broker append
time. For the latter the checksum is computed anew.

Layout: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from crc32c import crc32c

from ..errors import BatchTooLarge, CorruptBatch, MalformedBatch, UnsupportedBatch

_HEADER = struct.Struct(">qiibIhiqqqhii")
_UNCHECKED = struct.Struct(">qiibI")  # base offset to checksum: not covered by it
_CHECKED = struct.Struct(">hiqqqhii")  # attributes to record count: covered
HEADER_BYTES = _HEADER.size
LENGTH_OVERHEAD = 12  # the length field counts from after itself; base offset and length come before
_CRC_START = _UNCHECKED.size

_MAGIC = 2
_COMPRESSION_MASK = 0x07
_LOG_APPEND_TIME = 0x08
_TRANSACTIONAL = 0x10
_CONTROL = 0x20
_HAS_DELETE_HORIZON = 0x40
_LAST_CODEC = 4  # none, gzip, snappy, lz4, zstd
_LEAST_RECORD_BYTES = 7  # length, attributes, time, offset, key and value lengths, header count
LEADER_EPOCH = 0  # there is one broker, and it never hands over
STORED_MARK = struct.pack(">ib", LEADER_EPOCH, _MAGIC)
"""What every stored batch has in common: leader epoch and format, at `STORED_MARK_AT`."""
STORED_MARK_AT = 12


class BatchHeader(NamedTuple):
    """The fields before the records. Times are epoch milliseconds; `producer_id` is -1 without idempotence."""

    base_offset: int
    batch_length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def codec(self) -> int:
        """How the records are compressed: 0 not, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
        return self.attributes & _COMPRESSION_MASK

    @property
    def size(self) -> int:
        """Bytes of the whole batch, header included."""
        return self.batch_length + LENGTH_OVERHEAD

    @property
    def next_offset(self) -> int:
        """The offset after the batch's last record."""
        return self.base_offset + self.last_offset_delta + 1


def read_header(buffer: bytes | memoryview, position: int = 0) -> BatchHeader:
    """The header at `position`; `buffer` must hold all `HEADER_BYTES` of it."""
    return BatchHeader._make(_HEADER.unpack_from(buffer, position))


def count_records(batches: bytes) -> int:
    """How many records there are in whole batches."""
    count = position = 0
    while position < len(batches):
        header = read_header(batches, position)
        count += header.record_count
        position += header.size
    return count


def end_of(batches: bytes) -> int:
    """The offset after the last of some whole batches, of which there is at least one."""
    position = 0
    while True:
        header = read_header(batches, position)
        position += header.size
        if position >= len(batches):
            return header.next_offset


def checksum_matches(header: BatchHeader, batch: memoryview) -> bool:
    """Whether the batch, header included, is what its checksum was made of."""
    return crc32c(batch[_CRC_START:]) == header.crc


def is_stored(header: BatchHeader, batch: memoryview) -> bool:
    """Whether the batch is as `stamp` made it. Its base offset is not covered: that must follow the one before."""
    return header.magic == _MAGIC and header.leader_epoch == LEADER_EPOCH and checksum_matches(header, batch)


def check_produced(records: bytes, max_bytes: int) -> BatchHeader:
    """The header of the one whole, sound batch that `records` must be.

    Raises a `BatchRefused` that says what is wrong.
    """
    if len(records) < HEADER_BYTES:
        raise MalformedBatch(f"a record batch has at least {HEADER_BYTES} bytes, got {len(records)}")
    header = read_header(records)
    if header.magic != _MAGIC:
        raise UnsupportedBatch(f"only record batches of format 2 are taken, got format {header.magic}")
    if len(records) > max_bytes:
        raise BatchTooLarge(f"the batch has {len(records)} bytes, at most {max_bytes} are taken")
    if header.size != len(records):
        raise MalformedBatch(f"the batch says it has {header.size} bytes, got {len(records)}")
    if header.record_count < 1 or header.last_offset_delta != header.record_count - 1:
        raise MalformedBatch(f"{header.record_count} records cannot end at offset delta {header.last_offset_delta}")
    if header.attributes & (_TRANSACTIONAL | _CONTROL):
        raise UnsupportedBatch("transactions are not offered")
    if header.attributes & _COMPRESSION_MASK > _LAST_CODEC:
        raise UnsupportedBatch(f"unknown compression {header.attributes & _COMPRESSION_MASK}")
    if not header.attributes & _COMPRESSION_MASK and header.record_count * _LEAST_RECORD_BYTES > len(records):
        raise MalformedBatch(f"{header.record_count} records do not fit into {len(records)} bytes")
    if not checksum_matches(header, memoryview(records)):
        raise CorruptBatch("the checksum does not match")
    return header


def stamp(
    records: bytes, header: BatchHeader, base_offset: int, append_ms: int
) -> tuple[BatchHeader, list[bytes | memoryview]]:
    """The batch at its place in the log: its new header, and the pieces to write in order."""
    stamped = header._replace(
        base_offset=base_offset,
        leader_epoch=LEADER_EPOCH,
        attributes=(header.attributes | _LOG_APPEND_TIME) & ~_HAS_DELETE_HORIZON,
        max_timestamp=append_ms,
    )
    payload = memoryview(records)[HEADER_BYTES:]
    stamped, packed = _sealed(stamped, payload)
    return stamped, [packed, payload]


def compose(header: BatchHeader, payload: bytes) -> bytes:
    """A batch of these fields and this payload, with the length and checksum that belong to it."""
    sized = header._replace(batch_length=HEADER_BYTES - LENGTH_OVERHEAD + len(payload))
    return _sealed(sized, payload)[1] + payload


def _sealed(header: BatchHeader, payload: bytes | memoryview) -> tuple[BatchHeader, bytes]:
    """The header with its checksum, and its bytes."""
    checked = _CHECKED.pack(*header[5:])
    crc = crc32c(payload, crc32c(checked))
    return header._replace(crc=crc), _UNCHECKED.pack(*header[:4], crc) + checked


def delete_horizon_ms(header: BatchHeader) -> int | None:
    """When the batch's tombstones may go, if a compaction has said so. It is kept in place of the base time."""
    return header.base_timestamp if header.attributes & _HAS_DELETE_HORIZON else None


def with_delete_horizon(header: BatchHeader, horizon_ms: int) -> BatchHeader:
    """The batch keeping its tombstones until then; its records' times are the append time, whatever the base is."""
    return header._replace(attributes=header.attributes | _HAS_DELETE_HORIZON, base_timestamp=horizon_ms)
