"""Reading AMQP values: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-types-v1.0-os.html

`decode` makes Python values; `skip` only finds where one ends, for what is passed on as it came. Neither believes a
length: nothing is allocated for more elements than there are bytes, and nesting has a limit.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator

from .values import Described, Opaque, Symbol, Timestamp

_MAX_DEPTH = 32
_DESCRIBED = 0x00
_LIST_EMPTY = 0x45
_U32 = struct.Struct(">I")
_FIXED_WIDTHS = {4: 0, 5: 1, 6: 2, 7: 4, 8: 8, 9: 16}


class DecodeError(Exception):
    """The bytes are no AMQP value."""


def _constant(value: object) -> Callable[[bytes], object]:
    return lambda _: value


def _unpack(form: str, convert: Callable[[int], object] | None = None) -> Callable[[bytes], object]:
    unpack = struct.Struct(form).unpack
    if convert is None:
        return lambda data: unpack(data)[0]
    return lambda data: convert(unpack(data)[0])


_CONSTANTS: dict[int, object] = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0}
_ONE_BYTE_NUMBERS = (0x52, 0x53)
_FIXED: dict[int, Callable[[bytes], object]] = {
    **{constructor: _constant(value) for constructor, value in _CONSTANTS.items()},
    0x50: _unpack(">B"),
    0x51: _unpack(">b"),
    0x52: _unpack(">B"),
    0x53: _unpack(">B"),
    0x54: _unpack(">b"),
    0x55: _unpack(">b"),
    0x56: lambda data: data != b"\0",
    0x60: _unpack(">H"),
    0x61: _unpack(">h"),
    0x70: _unpack(">I"),
    0x71: _unpack(">i"),
    0x72: _unpack(">f"),
    0x73: lambda data: data.decode("utf-32-be"),
    0x74: lambda data: Opaque(0x74, data),
    0x80: _unpack(">Q"),
    0x81: _unpack(">q"),
    0x82: _unpack(">d"),
    0x83: _unpack(">q", Timestamp),
    0x84: lambda data: Opaque(0x84, data),
    0x94: lambda data: Opaque(0x94, data),
    0x98: lambda data: uuid.UUID(bytes=data),
}
_VARIABLE: dict[int, Callable[[bytes], object]] = {
    0xA0: bytes,
    0xA1: lambda data: data.decode(),
    0xA3: lambda data: Symbol(data.decode("ascii")),
    0xB0: bytes,
    0xB1: lambda data: data.decode(),
    0xB3: lambda data: Symbol(data.decode("ascii")),
}


def decode(data: bytes, position: int = 0) -> tuple[object, int]:
    """The value that begins at `position`, and where it ends; or DecodeError."""
    try:
        return _decode(data, position, 0)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError) as error:
        raise DecodeError(f"no AMQP value at byte {position}: {error}") from error


def decode_whole(data: bytes) -> object:
    """The one value that `data` is."""
    value, end = decode(data)
    if end != len(data):
        raise DecodeError(f"{len(data) - end} bytes follow the value")
    return value


def _decode(data: bytes, position: int, depth: int) -> tuple[object, int]:
    constructor = data[position]
    if constructor == _DESCRIBED:
        descriptor, position = _decode(data, position + 1, _deeper(depth))
        value, position = _decode(data, position, depth + 1)
        return Described(descriptor, value), position
    return _decode_body(constructor, data, position + 1, depth)


def _deeper(depth: int) -> int:
    if depth >= _MAX_DEPTH:
        raise DecodeError(f"values are nested more than {_MAX_DEPTH} deep")
    return depth + 1


def _decode_body(constructor: int, data: bytes, position: int, depth: int) -> tuple[object, int]:
    read = _FIXED.get(constructor)
    if read is not None:
        end = position + _FIXED_WIDTHS[constructor >> 4]
        return read(_cut(data, position, end)), end
    read = _VARIABLE.get(constructor)
    if read is not None:
        start, end = _extent(constructor, data, position)
        return read(_cut(data, start, end)), end
    if constructor == _LIST_EMPTY:
        return [], position
    kind = constructor & 0xEF
    if kind not in (0xC0, 0xC1, 0xE0):
        raise DecodeError(f"0x{constructor:02x} is no AMQP type")
    start, end = _extent(constructor, data, position)
    body = _cut(data, start, end)
    wide = constructor & 0x10
    count, position = (_U32.unpack_from(body)[0], 4) if wide else (body[0], 1)
    if count > len(body):
        raise DecodeError(f"{count} values cannot lie in {len(body)} bytes")
    depth = _deeper(depth)
    if kind == 0xE0:
        return _decode_array(body, position, count, depth), end
    items = _decode_items(body, position, count, depth)
    return (items if kind == 0xC0 else _pair(items)), end


def _decode_items(body: bytes, position: int, count: int, depth: int) -> list[object]:
    items: list[object] = []
    for _ in range(count):
        constructor = body[position]
        # Nearly all fields of the frequent performatives are one of these.
        if constructor in _CONSTANTS:
            items.append(_CONSTANTS[constructor])
            position += 1
        elif constructor in _ONE_BYTE_NUMBERS:
            items.append(body[position + 1])
            position += 2
        else:
            item, position = _decode(body, position, depth)
            items.append(item)
    if position != len(body):
        raise DecodeError("a list is longer than its values")
    return items


def _decode_array(body: bytes, position: int, count: int, depth: int) -> list[object]:
    if count == 0 and position == len(body):
        return []
    constructor, descriptor = body[position], None
    described = constructor == _DESCRIBED
    if described:
        descriptor, position = _decode(body, position + 1, depth)
        constructor = body[position]
    position += 1
    items: list[object] = []
    for _ in range(count):
        item, position = _decode_body(constructor, body, position, depth)
        items.append(Described(descriptor, item) if described else item)
    if position != len(body):
        raise DecodeError("an array is longer than its values")
    return items


def _pair(items: list[object]) -> dict[object, object]:
    if len(items) % 2:
        raise DecodeError("a map has a key without a value")
    return dict(zip(items[::2], items[1::2], strict=True))


def _extent(constructor: int, data: bytes, position: int) -> tuple[int, int]:
    """Where the bytes after a length begin and end."""
    if constructor & 0x10:
        start = position + 4
        return start, start + int(_U32.unpack_from(data, position)[0])
    return position + 1, position + 1 + data[position]


def _cut(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise DecodeError(f"the value ends {end - len(data)} bytes after the data")
    return data[start:end]


def skip(data: bytes, position: int) -> int:
    """Where the value that begins at `position` ends; or DecodeError."""
    try:
        constructor = data[position]
        if constructor == _DESCRIBED:
            # A described descriptor is legal and absurd: it is not taken here.
            after_descriptor = _skip_plain(data[position + 1], data, position + 2)
            end = _skip_plain(data[after_descriptor], data, after_descriptor + 1)
        else:
            end = _skip_plain(constructor, data, position + 1)
    except (IndexError, struct.error) as error:
        raise DecodeError(f"no AMQP value at byte {position}: {error}") from error
    if end > len(data):
        raise DecodeError(f"the value ends {end - len(data)} bytes after the data")
    return end


def _skip_plain(constructor: int, data: bytes, position: int) -> int:
    category = constructor >> 4
    width = _FIXED_WIDTHS.get(category)
    if width is not None:
        return position + width
    if category < 0xA:
        raise DecodeError(f"0x{constructor:02x} is no AMQP type")
    return _extent(constructor, data, position)[1]


def items_of(data: bytes, position: int = 0) -> Iterator[tuple[int, int]]:
    """Where each item of the list or map at `position` begins and ends; keys and values of a map in turn."""
    try:
        constructor = data[position]
        if constructor == _LIST_EMPTY:
            return
        if constructor & 0xEF not in (0xC0, 0xC1):
            raise DecodeError(f"0x{constructor:02x} is neither list nor map")
        start, end = _extent(constructor, data, position + 1)
        wide = constructor & 0x10
        count, start = (_U32.unpack_from(data, start)[0], start + 4) if wide else (data[start], start + 1)
    except (IndexError, struct.error) as error:
        raise DecodeError(f"no list or map at byte {position}: {error}") from error
    for _ in range(count):
        after = skip(data, start)
        if after > end:
            raise DecodeError("a list is shorter than its values")
        yield start, after
        start = after
