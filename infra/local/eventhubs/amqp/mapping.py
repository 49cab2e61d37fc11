"""Events between AMQP and the log.

An event's data is the record's value and its partition key the record's key. Each application property is a record
header with the AMQP-encoded value, as Event Hubs stores it. Whatever else must not get lost (annotations,
properties, footer) lies in the first header, named `amqp`; it marks a record as written by AMQP, for only then the
other headers are AMQP-encoded. Headers of Kafka producers reach AMQP consumers as binary properties.
"""

from __future__ import annotations

import functools
import struct

from .decoding import DecodeError, decode_whole
from .encoding import NULL, encode, map_of
from .message import (
    APPLICATION_PROPERTIES,
    DATA,
    DELIVERY_ANNOTATIONS,
    FOOTER,
    MESSAGE_ANNOTATIONS,
    PROPERTIES,
    Message,
    check,
    data_of,
    data_section,
    only_data,
    parse,
    raw_items,
    section,
)
from .records import Header, Record, StoredRecord
from .values import Symbol

BATCH_FORMAT = 0x80013700
"""Message format of a transfer whose data sections are messages themselves."""
AMQP_HEADER = "amqp"
"""The first header of a record that AMQP wrote and that has any."""
AMQP_BODY_HEADER = "amqp-body"
"""In its place when the body is not one data section: the record's value then holds the body's sections."""

_PARTITION_KEY = Symbol("x-opt-partition-key")
_SEQUENCE_NUMBER = encode(Symbol("x-opt-sequence-number"))
_OFFSET = encode(Symbol("x-opt-offset"))
_ENQUEUED_TIME = encode(Symbol("x-opt-enqueued-time"))
_KEY = encode(_PARTITION_KEY)
# What the service sets, however the client encoded the name.
_SERVICE_ANNOTATIONS = frozenset(
    {"x-opt-sequence-number", "x-opt-offset", "x-opt-enqueued-time", "x-opt-partition-key"}
)
_ANNOTATION_BYTES = struct.Struct(">Bq")


def _plain_annotations(digits: int) -> tuple[bytes, bytes]:
    """What comes before the sequence number and before the offset's text, in annotations without a key."""
    values = 2 * _ANNOTATION_BYTES.size + 2 + digits
    size = 1 + len(_SEQUENCE_NUMBER) + len(_OFFSET) + len(_ENQUEUED_TIME) + values
    start = section(MESSAGE_ANNOTATIONS, bytes((0xC1, size, 6)) + _SEQUENCE_NUMBER)
    return start, _OFFSET + bytes((0xA1, digits))


_PLAIN_ANNOTATIONS = tuple(_plain_annotations(digits) for digits in range(20))
_KEPT_SECTIONS = (PROPERTIES, FOOTER)
_CHECKED_SECTIONS = frozenset({PROPERTIES, APPLICATION_PROPERTIES, FOOTER})
_CACHED_BYTES = 256


def records_of(payload: bytes, message_format: int) -> tuple[bytes | None, list[Record]]:
    """The partition key of a transfer, and the events in it; DecodeError if it holds none."""
    outer = parse(payload)
    key, _ = _annotations(outer.sections.get(MESSAGE_ANNOTATIONS))
    if message_format != BATCH_FORMAT:
        return key, [_record(outer, key)]
    records = []
    for code, raw in outer.body:
        if code != DATA:
            raise DecodeError("a batch must hold its events in data sections")
        event = data_of(raw)
        content = only_data(event)
        records.append(_record(parse(event), key) if content is None else Record(key, content))
    if not records:
        raise DecodeError("a batch must hold an event")
    return key, records


def _annotations(raw: bytes | None) -> tuple[bytes | None, tuple[bytes, ...]]:
    """The partition key, and the annotations that are the client's own, keys and values in turn."""
    if raw is None:
        return None, ()
    # The events of a keyed batch all carry the same ones.
    return _read_annotations_cached(raw) if len(raw) <= _CACHED_BYTES else _read_annotations(raw)


def _read_annotations(raw: bytes) -> tuple[bytes | None, tuple[bytes, ...]]:
    check(MESSAGE_ANNOTATIONS, raw)
    items = raw_items(raw)
    key: bytes | None = None
    own: list[bytes] = []
    for name, value in zip(items[::2], items[1::2], strict=False):
        annotation = decode_whole(name)
        if annotation == _PARTITION_KEY:
            key = _key_bytes(decode_whole(value))
        if annotation not in _SERVICE_ANNOTATIONS:
            own += (name, value)
    return key, tuple(own)


_read_annotations_cached = functools.lru_cache(maxsize=256)(_read_annotations)


def _key_bytes(key: object) -> bytes | None:
    if isinstance(key, bytes):
        return key
    return key.encode() if isinstance(key, str) else None


def _record(message: Message, outer_key: bytes | None) -> Record:
    key, annotations = _annotations(message.sections.get(MESSAGE_ANNOTATIONS))
    for code in _CHECKED_SECTIONS & message.sections.keys():
        check(code, message.sections[code])
    kept = [section(MESSAGE_ANNOTATIONS, map_of(annotations))] if annotations else []
    kept += [section(code, message.sections[code]) for code in _KEPT_SECTIONS if code in message.sections]
    items = raw_items(message.sections.get(APPLICATION_PROPERTIES))
    properties = [
        Header(str(decode_whole(name)), content) for name, content in zip(items[::2], items[1::2], strict=True)
    ]
    marker, value = _marked_value(message)
    headers: tuple[Header, ...] = ()
    if kept or properties or marker != AMQP_HEADER:
        headers = (Header(marker, b"".join(kept)), *properties)
    return Record(outer_key if key is None else key, value, headers)


def _marked_value(message: Message) -> tuple[str, bytes | None]:
    """What marks the record, and its value."""
    if not message.body:
        return AMQP_HEADER, None
    if len(message.body) == 1 and message.body[0][0] == DATA:
        return AMQP_HEADER, data_of(message.body[0][1])
    for code, raw in message.body:
        check(code, raw)
    return AMQP_BODY_HEADER, b"".join(section(code, raw) for code, raw in message.body)


def message_of(stored: StoredRecord, delivery_annotations: bytes = b"") -> bytes:
    """The event as an AMQP message, with offset, sequence number and enqueued time. Never fails."""
    offset, append_ms, record = stored
    text = b"%d" % offset
    if record.key is None and not record.headers:
        start, offset_name = _PLAIN_ANNOTATIONS[len(text)]
        return b"".join(
            (
                delivery_annotations,
                start,
                _ANNOTATION_BYTES.pack(0x81, offset),
                offset_name,
                text,
                _ENQUEUED_TIME,
                _ANNOTATION_BYTES.pack(0x83, append_ms),
                data_section(record.value or b""),
            )
        )
    annotations = [
        _SEQUENCE_NUMBER,
        _ANNOTATION_BYTES.pack(0x81, offset),
        _OFFSET,
        b"\xa1" + bytes((len(text),)) + text,
        _ENQUEUED_TIME,
        _ANNOTATION_BYTES.pack(0x83, append_ms),
    ]
    if record.key is not None:
        annotations += (_KEY, _key_value(record.key))
    if record.headers:
        return delivery_annotations + _with_headers(record, annotations)
    return b"".join(
        (
            delivery_annotations,
            section(MESSAGE_ANNOTATIONS, map_of(annotations)),
            data_section(record.value or b""),
        )
    )


def _key_value(key: bytes) -> bytes:
    try:
        return encode(key.decode())
    except UnicodeDecodeError:
        return encode(key)  # a Kafka producer's binary key


def _with_headers(record: Record, annotations: list[bytes]) -> bytes:
    kept = _kept(record)
    if kept is None:
        kept, own, body = Message(), _binary_properties(record.headers), data_section(record.value or b"")
    else:
        annotations += raw_items(kept.sections.get(MESSAGE_ANNOTATIONS))
        own = [each for name, value in record.headers[1:] for each in (encode(name), value or NULL)]
        marked_body = record.headers[0].key == AMQP_BODY_HEADER
        body = (record.value or b"") if marked_body else data_section(record.value or b"")
    parts = [section(MESSAGE_ANNOTATIONS, map_of(annotations))]
    if PROPERTIES in kept.sections:
        parts.append(section(PROPERTIES, kept.sections[PROPERTIES]))
    if own:
        parts.append(section(APPLICATION_PROPERTIES, map_of(own)))
    parts.append(body)
    if FOOTER in kept.sections:
        parts.append(section(FOOTER, kept.sections[FOOTER]))
    return b"".join(parts)


def _kept(record: Record) -> Message | None:
    """The sections that AMQP wrote, or None if this record came from Kafka (or was damaged on its way through it)."""
    marker, *properties = record.headers
    if marker.key not in (AMQP_HEADER, AMQP_BODY_HEADER):
        return None
    try:
        kept = parse(marker.value or b"")
        for code, raw in kept.sections.items():
            check(code, raw)
        for _, value in properties:
            decode_whole(value or NULL)
        if marker.key == AMQP_BODY_HEADER:
            for code, raw in parse(record.value or b"").body:
                check(code, raw)
    except (DecodeError, IndexError):
        return None
    return kept


def _binary_properties(headers: tuple[Header, ...]) -> list[bytes]:
    # Kafka allows a name twice, a map does not: the last one counts.
    return [encode(each) for pair in dict(headers).items() for each in pair]


def delivery_annotations(values: dict[object, object]) -> bytes:
    """The section that may come before `message_of`."""
    return section(DELIVERY_ANNOTATIONS, encode(values))
