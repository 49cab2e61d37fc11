"""The nine performatives, read and written.

Written to their full length, trailing nulls included: the Python SDK reads their fields by position and fails on a
short one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeVar

from .decoding import DecodeError, decode, items_of, skip
from .encoding import encode_list
from .errors import DECODE_ERROR, AmqpError, ConnectionFailed
from .values import Described, ULong

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
_FIELD_COUNTS = {
    OPEN: 10,
    BEGIN: 8,
    ATTACH: 14,
    FLOW: 11,
    TRANSFER: 11,
    DISPOSITION: 6,
    DETACH: 3,
    END: 1,
    CLOSE: 1,
}
_ERROR, _ACCEPTED, _REJECTED = 0x1D, 0x24, 0x25
_TRANSFER = struct.Struct(">IBBH6sBIBIBBI8s")
TRANSFER_FRAME_BYTES = _TRANSFER.size
"""Size of a frame with a transfer up to its payload, as written here."""
_TRANSFER_START = b"\x00\x53\x14\xc0" + bytes((8 + 16 + 1, 11))
_TRANSFER_TAILS = {
    # message-format 0, settled, more, and five nulls
    (settled, more): b"\x43" + (b"\x41" if settled else b"\x42") + (b"\x41" if more else b"\x42") + b"\x40" * 5
    for settled in (False, True)
    for more in (False, True)
}
_MAX_DESCRIPTION = 1000
_Value = TypeVar("_Value")

ACCEPTED = Described(ULong(_ACCEPTED), [])


@dataclass(frozen=True, slots=True)
class Performative:
    """`fields` has the full length, missing ones None; `payload` is what follows, the message of a transfer."""

    code: int
    fields: list[object]
    payload: bytes

    def field(self, index: int, kind: type[_Value]) -> _Value | None:
        """A field of this type or null; anything else is a ConnectionFailed. All numbers have 32 bits, unsigned."""
        value = self.fields[index]
        if value is None:
            return None
        if isinstance(value, kind) and (kind is not int or _is_uint(value)):
            return value
        raise ConnectionFailed(DECODE_ERROR, f"field {index} of performative 0x{self.code:02x} has a wrong type")

    def required(self, index: int, kind: type[_Value]) -> _Value:
        """A field that must not be null."""
        value = self.field(index, kind)
        if value is None:
            raise ConnectionFailed(DECODE_ERROR, f"field {index} of performative 0x{self.code:02x} is missing")
        return value


def _is_uint(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def read(body: bytes) -> Performative:
    """The performative that a frame's body begins with."""
    try:
        end = skip(body, 0)
        described, _ = decode(body[:end])
    except DecodeError as error:
        raise ConnectionFailed(DECODE_ERROR, str(error)) from error
    if not isinstance(described, Described) or not isinstance(described.value, list):
        raise ConnectionFailed(DECODE_ERROR, "a frame's body must begin with a performative")
    code = described.descriptor
    count = _FIELD_COUNTS.get(code) if isinstance(code, int) else None
    if count is None or not isinstance(code, int):
        raise ConnectionFailed(DECODE_ERROR, f"{code!r} is no performative")
    fields = described.value[:count]
    return Performative(code, fields + [None] * (count - len(fields)), body[end:])


def raw_fields(body: bytes) -> list[bytes]:
    """The fields of the performative at the start of a body, as they came; `read` has accepted it."""
    try:
        return [body[start:end] for start, end in items_of(body, skip(body, 1))]
    except DecodeError as error:
        raise ConnectionFailed(DECODE_ERROR, str(error)) from error


def write(code: int, *fields: object) -> bytes:
    """A performative; the fields left out are null."""
    missing = [None] * (_FIELD_COUNTS[code] - len(fields))
    return b"\x00\x53" + bytes((code,)) + encode_list([*fields, *missing])


def write_raw(code: int, fields: list[bytes]) -> bytes:
    """A performative of fields that are encoded already."""
    body = b"".join(fields) + b"\x40" * (_FIELD_COUNTS[code] - len(fields))
    return b"\x00\x53" + bytes((code,)) + struct.pack(">BII", 0xD0, len(body) + 4, _FIELD_COUNTS[code]) + body


def transfer_frame(
    channel: int, handle: int, delivery_id: int, payload: bytes, *, settled: bool, more: bool
) -> bytes:
    """A whole frame with a transfer: exactly 11 fields, then the payload. The delivery's tag is its id."""
    size = TRANSFER_FRAME_BYTES + len(payload)
    tail = _TRANSFER_TAILS[settled, more]
    return (
        _TRANSFER.pack(
            size, 2, 0, channel, _TRANSFER_START, 0x70, handle, 0x70, delivery_id, 0xA0, 4, delivery_id, tail
        )
        + payload
    )


def error_value(error: AmqpError) -> Described:
    """The error with all three fields."""
    return Described(ULong(_ERROR), [error.condition, error.description[:_MAX_DESCRIPTION], None])


def rejected(error: AmqpError) -> Described:
    """The outcome of a delivery that was not taken."""
    return Described(ULong(_REJECTED), [error_value(error)])
