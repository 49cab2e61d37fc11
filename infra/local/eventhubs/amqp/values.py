"""AMQP values that Python has no type for.

Integers of every width are read as `int`; the classes here say which width to write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Symbol(str):
    """A name from a protocol's vocabulary, ASCII."""

    __slots__ = ()


class Timestamp(int):
    """Epoch milliseconds."""

    __slots__ = ()


class UByte(int):
    """Unsigned, 8 bits."""

    __slots__ = ()


class UShort(int):
    """Unsigned, 16 bits."""

    __slots__ = ()


class UInt(int):
    """Unsigned, 32 bits."""

    __slots__ = ()


class ULong(int):
    """Unsigned, 64 bits."""

    __slots__ = ()


class Int(int):
    """Signed, 32 bits. A plain `int` is written as a long, signed and of 64 bits."""

    __slots__ = ()


class Described(NamedTuple):
    """A value with the descriptor that says what it is."""

    descriptor: object
    value: object


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value of a type that nothing here has to understand (decimals), as its bytes on the wire."""

    constructor: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Array:
    """Values of one type, all symbols or all strings."""

    items: tuple[str, ...]
