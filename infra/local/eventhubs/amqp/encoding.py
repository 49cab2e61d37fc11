"""Writing AMQP values, each in its shortest form."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Sequence

from .values import Array, Described, Int, Opaque, Symbol, Timestamp, UByte, UInt, ULong, UShort

_U32 = struct.Struct(">BI")
_I32 = struct.Struct(">Bi")
_U64 = struct.Struct(">BQ")
_I64 = struct.Struct(">Bq")
_DOUBLE = struct.Struct(">Bd")
_SIZES = struct.Struct(">BII")
NULL = b"\x40"


def encode(value: object) -> bytes:
    """The value on the wire. A plain `int` becomes a long, `str` a string, `bytes` binary."""
    try:
        write = _WRITERS[type(value)]
    except KeyError:
        raise TypeError(f"{type(value).__name__} has no AMQP form") from None
    return write(value)


def _uint(value: int) -> bytes:
    if value == 0:
        return b"\x43"
    return bytes((0x52, value)) if value < 256 else _U32.pack(0x70, value)


def _ulong(value: int) -> bytes:
    if value == 0:
        return b"\x44"
    return bytes((0x53, value)) if value < 256 else _U64.pack(0x80, value)


def _long(value: int) -> bytes:
    return bytes((0x55, value & 0xFF)) if -128 <= value < 128 else _I64.pack(0x81, value)


def _int(value: int) -> bytes:
    return bytes((0x54, value & 0xFF)) if -128 <= value < 128 else _I32.pack(0x71, value)


def _variable(short: int, data: bytes) -> bytes:
    if len(data) < 256:
        return bytes((short, len(data))) + data
    return _U32.pack(short | 0x10, len(data)) + data


def _compound(short: int, count: int, body: bytes) -> bytes:
    if len(body) < 255 and count < 256:
        return bytes((short, len(body) + 1, count)) + body
    return _SIZES.pack(short | 0x10, len(body) + 4, count) + body


def encode_list(items: Sequence[object]) -> bytes:
    """A list of the items."""
    return list_of([encode(item) for item in items])


def list_of(encoded: Sequence[bytes]) -> bytes:
    """A list of items that are encoded already."""
    return _compound(0xC0, len(encoded), b"".join(encoded)) if encoded else b"\x45"


def map_of(encoded: Sequence[bytes]) -> bytes:
    """A map of keys and values, in turn, that are encoded already."""
    return _compound(0xC1, len(encoded), b"".join(encoded))


def _map(value: dict[object, object]) -> bytes:
    return map_of([encode(each) for pair in value.items() for each in pair])


def _array(value: Array) -> bytes:
    symbols = all(isinstance(item, Symbol) for item in value.items)
    items = [item.encode() for item in value.items]
    constructor = 0xB3 if symbols else 0xB1
    body = bytes((constructor,)) + b"".join(struct.pack(">I", len(item)) + item for item in items)
    return _compound(0xE0, len(items), body)


def _described(value: Described) -> bytes:
    return b"\x00" + encode(value.descriptor) + encode(value.value)


_WRITERS: dict[type, Callable[..., bytes]] = {
    type(None): lambda _: NULL,
    bool: lambda value: b"\x41" if value else b"\x42",
    int: _long,
    Int: _int,
    UByte: lambda value: bytes((0x50, value)),
    UShort: lambda value: struct.pack(">BH", 0x60, value),
    UInt: _uint,
    ULong: _ulong,
    Timestamp: lambda value: _I64.pack(0x83, value),
    float: lambda value: _DOUBLE.pack(0x82, value),
    uuid.UUID: lambda value: b"\x98" + value.bytes,
    str: lambda value: _variable(0xA1, value.encode()),
    Symbol: lambda value: _variable(0xA3, value.encode("ascii")),
    bytes: lambda value: _variable(0xA0, value),
    list: encode_list,
    dict: _map,
    Array: _array,
    Described: _described,
    Opaque: lambda value: bytes((value.constructor,)) + value.data,
}
