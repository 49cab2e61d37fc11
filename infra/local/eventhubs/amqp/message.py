"""A message cut into its sections, each kept as it came.

https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html#section-message-format
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from .decoding import DecodeError, decode, decode_whole, items_of, skip

HEADER, DELIVERY_ANNOTATIONS, MESSAGE_ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES = range(0x70, 0x75)
DATA, SEQUENCE, VALUE, FOOTER = range(0x75, 0x79)
_BODY = (DATA, SEQUENCE, VALUE)
_BINARY = (0xA0, 0xB0)
_SHORT_DATA, _LONG_DATA = b"\x00\x53\x75\xa0", b"\x00\x53\x75\xb0"
_KINDS: dict[int, type] = {
    HEADER: list,
    DELIVERY_ANNOTATIONS: dict,
    MESSAGE_ANNOTATIONS: dict,
    PROPERTIES: list,
    APPLICATION_PROPERTIES: dict,
    DATA: bytes,
    SEQUENCE: list,
    FOOTER: dict,
}
_U32 = struct.Struct(">I")


@dataclass(slots=True)
class Message:
    """Sections as raw values without their descriptors; `body` holds (section code, raw value) in order."""

    sections: dict[int, bytes] = field(default_factory=dict)
    body: list[tuple[int, bytes]] = field(default_factory=list)


def parse(data: bytes) -> Message:
    """The message's sections; DecodeError if it is none."""
    message = Message()
    position = 0
    while position < len(data):
        code, start = _section_code(data, position)
        position = skip(data, start)
        raw = data[start:position]
        if code in _BODY:
            message.body.append((code, raw))
        else:
            message.sections[code] = raw
    return message


def check(code: int, raw: bytes) -> None:
    """DecodeError unless the section is sound to its last byte, for it will be given to others."""
    if code == DATA and raw[0] in _BINARY:
        return
    value = decode_whole(raw)
    if not isinstance(value, _KINDS.get(code, object)):
        raise DecodeError(f"section 0x{code:02x} must not hold a {type(value).__name__}")


def only_data(data: bytes) -> bytes | None:
    """The content of a message that is nothing but one data section, as most events are; else None."""
    if data[:4] == _SHORT_DATA and len(data) > 4 and len(data) == 5 + data[4]:
        return data[5:]
    if data[:4] == _LONG_DATA and len(data) >= 8 and len(data) == 8 + _U32.unpack_from(data, 4)[0]:
        return data[8:]
    return None


def _section_code(data: bytes, position: int) -> tuple[int, int]:
    """The descriptor at `position`, and where its value begins."""
    if data[position : position + 2] == b"\x00\x53" and position + 2 < len(data):
        code, start = data[position + 2], position + 3
    else:
        if data[position] != 0:
            raise DecodeError("a message must begin with a section")
        descriptor, start = decode(data, position + 1)
        code = descriptor if isinstance(descriptor, int) else -1
    if not HEADER <= code <= FOOTER:
        raise DecodeError(f"{code} is no message section")
    return code, start


def section(code: int, raw: bytes) -> bytes:
    """A section around its raw value."""
    return b"\x00\x53" + bytes((code,)) + raw


def data_of(raw: bytes) -> bytes:
    """The bytes in the raw value of a data section."""
    constructor = raw[0]
    if constructor == 0xA0:
        return raw[2:]
    if constructor == 0xB0:
        return raw[5:]
    raise DecodeError("a data section must hold binary")


def data_section(content: bytes) -> bytes:
    """A data section of these bytes."""
    if len(content) < 256:
        return _SHORT_DATA + bytes((len(content),)) + content
    return _LONG_DATA + _U32.pack(len(content)) + content


def raw_items(raw: bytes | None) -> list[bytes]:
    """The items of a raw list or map, raw; none if there is no such section."""
    if raw is None:
        return []
    return [raw[start:end] for start, end in items_of(raw)]


def decoded_map(raw: bytes | None) -> dict[object, object]:
    """A raw map, decoded; empty if there is no such section."""
    value = {} if raw is None else decode_whole(raw)
    if not isinstance(value, dict):
        raise DecodeError("expected a map")
    return value
