from __future__ import annotations

import gzip
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from azure.eventhub._pyamqp._decode import decode_payload
from azure.eventhub._pyamqp._encode import encode_payload
from azure.eventhub._pyamqp.message import BatchMessage, Message, Properties
from hypothesis import given
from hypothesis import strategies as st

from infra.local.eventhubs.amqp.decoding import DecodeError
from infra.local.eventhubs.amqp.encoding import encode
from infra.local.eventhubs.amqp.mapping import AMQP_BODY_HEADER, AMQP_HEADER, BATCH_FORMAT, message_of, records_of
from infra.local.eventhubs.amqp.records import (
    Header,
    MalformedRecords,
    Record,
    StoredRecord,
    decode_batches,
    encode_batch,
    encode_batches,
)
from infra.local.eventhubs.log.batch import check_produced
from tests.unit.eventhubs.batches import make_batch

NOW_MS = 1_700_000_000_000
RECORDS = st.lists(
    st.builds(
        Record,
        st.none() | st.binary(max_size=20),
        st.none() | st.binary(max_size=300),
        st.lists(st.builds(Header, st.text(max_size=8), st.none() | st.binary(max_size=80)), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=70,
)


def sent(message: Any) -> bytes:
    output = bytearray()
    encode_payload(output, message)
    return bytes(output)


def received(record: Record, offset: int = 7) -> Any:
    return decode_payload(memoryview(message_of(StoredRecord(offset, NOW_MS, record))))


@given(RECORDS)
def test_kafka_reads_the_batches_written_here(records: list[Record]) -> None:
    data = encode_batch(records, NOW_MS)
    assert check_produced(data, 10_000_000).record_count == len(records)
    batch = DefaultRecordBatch(data)
    assert batch.validate_crc()
    assert [(r.offset, r.key, r.value, tuple(r.headers)) for r in batch] == [
        (index, r.key, r.value, tuple(map(tuple, r.headers))) for index, r in enumerate(records)
    ]


@given(RECORDS, st.sampled_from([0, 1]))
def test_the_batches_kafka_writes_are_read_here(records: list[Record], compression: int) -> None:
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 10_000_000)
    for offset, record in enumerate(records):
        builder.append(offset, NOW_MS, record.key, record.value, [tuple(each) for each in record.headers])
    (batch,) = decode_batches(bytes(builder.build()))
    assert batch.next_offset == len(records)
    assert [(stored.offset, stored.record) for stored in batch.records] == list(enumerate(records))


@given(st.binary(min_size=1, max_size=100), st.integers(61, 160), st.integers(0, 255))
def test_damaged_records_are_refused_with_their_offset(value: bytes, position: int, byte: int) -> None:
    data = bytearray(make_batch(value, value))
    data[position % (len(data) - 61) + 61] = byte
    error = ""
    try:
        (batch,) = decode_batches(bytes(data))
        assert len(batch.records) == 2
    except MalformedRecords as refused:
        error = str(refused)
    assert not error or "start after offset 1" in error


def test_a_compression_bomb_is_refused() -> None:
    data = bytearray(make_batch(b"x"))
    bomb = gzip.compress(bytes(100 * 1024 * 1024))
    data[61:] = bomb
    data[8:12] = (len(data) - 12).to_bytes(4, "big")
    data[22] |= 1
    with pytest.raises(MalformedRecords, match="too large"):
        list(decode_batches(bytes(data)))


def test_a_batch_that_would_outgrow_the_log_is_split_and_stays_in_order() -> None:
    records = [Record(None, b"%d" % index) for index in range(1000)]
    batches = encode_batches(records, NOW_MS, 3000)
    assert all(len(batch) <= 3000 for batch in batches)
    values = [stored.record.value for data in batches for batch in decode_batches(data) for stored in batch.records]
    assert values == [record.value for record in records]


def test_data_becomes_the_value_and_the_partition_key_the_key() -> None:
    message = Message(data=[b"body"], message_annotations={b"x-opt-partition-key": b"k"})  # type: ignore[call-arg]  # the other fields have defaults
    assert records_of(sent(message), 0) == (b"k", [Record(b"k", b"body")])


def test_a_batch_gives_its_key_to_every_event_in_it() -> None:
    inner = [sent(Message(data=[b"%d" % index])) for index in range(3)]  # type: ignore[call-arg]  # as above
    message = BatchMessage(data=inner, message_annotations={b"x-opt-partition-key": b"k"})  # type: ignore[call-arg]  # as above
    assert message._code == BATCH_FORMAT
    assert records_of(sent(message), BATCH_FORMAT) == (b"k", [Record(b"k", b"%d" % index) for index in range(3)])


def test_application_properties_become_headers_with_amqp_encoded_values() -> None:
    message = Message(data=[b"body"], application_properties={"number": 5, "text": "x"})  # type: ignore[call-arg]  # as above
    _, [record] = records_of(sent(message), 0)
    assert record.headers[0] == Header(AMQP_HEADER, b"")
    assert dict(record.headers)["text"] == encode("x")


def test_everything_of_a_message_comes_back() -> None:
    message = Message(  # type: ignore[call-arg]  # as above
        data=[b"body"],
        properties=Properties(message_id="id", content_type="text/plain", correlation_id="c"),  # type: ignore[call-arg]  # as above
        application_properties={"number": -5, "text": "x", "flag": True, "none": None, "bytes": b"\0\1"},
        message_annotations={b"x-own": "mine", b"x-opt-offset": "99"},
        footer={b"f": 1},
    )
    _, [record] = records_of(sent(message), 0)
    back = received(record)
    assert back.data == [b"body"]
    assert back.properties.message_id == b"id"
    assert back.properties.content_type == b"text/plain"
    assert back.application_properties == {
        b"number": -5,
        b"text": b"x",
        b"flag": True,
        b"none": None,
        b"bytes": b"\0\1",
    }
    assert back.message_annotations[b"x-own"] == b"mine"
    assert back.message_annotations[b"x-opt-offset"] == b"7", "the service's annotations are its own"
    assert back.message_annotations[b"x-opt-sequence-number"] == 7
    assert back.message_annotations[b"x-opt-enqueued-time"] == NOW_MS
    assert back.footer == {b"f": 1}


@pytest.mark.parametrize(
    "body", [{"value": {"a": [1, 2]}}, {"sequence": [[1, "two"], [b"three"]]}, {"data": [b"one", b"two"]}]
)
def test_a_body_that_is_not_one_data_section_comes_back(body: dict[str, Any]) -> None:
    _, [record] = records_of(sent(Message(**body)), 0)
    assert AMQP_BODY_HEADER in dict(record.headers)
    before = decode_payload(memoryview(sent(Message(**body))))
    after = received(record)
    assert (after.data, after.sequence, after.value) == (before.data, before.sequence, before.value)


def test_properties_named_like_the_markers_survive() -> None:
    properties = {"amqp": 1, "amqp-body": "x"}
    _, [record] = records_of(sent(Message(data=[b"b"], application_properties=properties)), 0)  # type: ignore[call-arg]  # as above
    assert received(record).application_properties == {b"amqp": 1, b"amqp-body": b"x"}


def test_headers_of_kafka_become_binary_properties() -> None:
    # b"A" is also the AMQP encoding of True: only the marker tells who wrote it.
    back = received(Record(b"key", b"value", (Header("plain", b"A"), Header("none", None))))
    assert back.application_properties == {b"plain": b"A", b"none": None}
    assert back.message_annotations[b"x-opt-partition-key"] == b"key"


@pytest.mark.parametrize("record", [Record(None, None), Record(b"\xff", b""), Record(b"", b"x")])
def test_any_kafka_record_is_a_message(record: Record) -> None:
    assert received(record).data == [record.value or b""]


@pytest.mark.parametrize(
    "headers",
    [
        (Header(AMQP_HEADER, b"junk"),),
        (Header(AMQP_HEADER, None), Header("x", b"junk")),
        (Header(AMQP_HEADER, b""), Header("x", b"\xa1\xff")),
        (Header(AMQP_HEADER, b""), Header(AMQP_BODY_HEADER, b"")),
        (Header(AMQP_BODY_HEADER, b""), Header("x", b"\x40")),
        (Header("x", b"1"), Header("x", b"2"), Header(AMQP_HEADER, b"")),
        (Header(AMQP_HEADER, b"\x00\x53\x72\x40"), Header("x", b"\x40")),
        (Header(AMQP_HEADER, b"\x00\x53\x72\xa0\x01x"),),
    ],
)
def test_a_forged_marker_gives_a_message_all_the_same(headers: tuple[Header, ...]) -> None:
    decode_payload(memoryview(message_of(StoredRecord(1, NOW_MS, Record(b"k", b"value", headers)))))


@given(st.binary(max_size=120), st.sampled_from([0, BATCH_FORMAT]))
def test_any_payload_is_taken_or_refused(payload: bytes, message_format: int) -> None:
    try:
        _, records = records_of(payload, message_format)
    except DecodeError:
        return
    for record in records:
        message_of(StoredRecord(1, NOW_MS, record))
    encode_batch(records, NOW_MS)


@given(RECORDS)
def test_any_record_is_a_message(records: list[Record]) -> None:
    for record in records:
        decode_payload(memoryview(message_of(StoredRecord(1, NOW_MS, record))))
