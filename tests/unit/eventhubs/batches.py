"""Record batches made and read by aiokafka, so that the hub's own reading of them is not tested against itself."""

from __future__ import annotations

from typing import NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from infra.local.eventhubs.log.batch import LENGTH_OVERHEAD

PRODUCED_MS = 1_600_000_000_000


def make_batch(
    *values: bytes, producer_id: int = -1, epoch: int = -1, sequence: int = -1, compression: int = 0
) -> bytes:
    """A batch as a producer sends it, all records of time PRODUCED_MS."""
    builder = DefaultRecordBatchBuilder(2, compression, 0, producer_id, epoch, sequence, 10_000_000)
    for offset, value in enumerate(values):
        builder.append(offset, PRODUCED_MS, None, value, [])
    return bytes(builder.build())


class Record(NamedTuple):
    offset: int
    timestamp: int
    value: bytes


def split(data: bytes) -> list[bytes]:
    """Whole batches; fails on anything else."""
    batches = []
    while data:
        size = int.from_bytes(data[8:12], "big") + LENGTH_OVERHEAD
        assert size <= len(data), "an unfinished batch"
        batches.append(data[:size])
        data = data[size:]
    return batches


def records_of(data: bytes) -> list[Record]:
    """All records, their batches' checksums verified."""
    records = []
    for raw in split(data):
        batch = DefaultRecordBatch(raw)
        assert batch.validate_crc()
        records += [Record(each.offset, each.timestamp, each.value) for each in batch]
    return records


class Keyed(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None


def make_keyed_batch(*pairs: tuple[bytes | None, bytes | None], compression: int = 0, producer: int = -1) -> bytes:
    """A batch of keys and values; a value of None is a tombstone. `producer` sends its sequence 0."""
    idempotent = (producer, 0, 0) if producer >= 0 else (-1, -1, -1)
    builder = DefaultRecordBatchBuilder(2, compression, 0, *idempotent, 10_000_000)
    for offset, (key, value) in enumerate(pairs):
        builder.append(offset, PRODUCED_MS, key, value, [])
    return bytes(builder.build())


def keyed_records_of(data: bytes) -> list[Keyed]:
    """All records with their keys, their batches' checksums verified."""
    records = []
    for raw in split(data):
        batch = DefaultRecordBatch(raw)
        assert batch.validate_crc()
        records += [Keyed(each.offset, each.key, each.value) for each in batch]
    return records
