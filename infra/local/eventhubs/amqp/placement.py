"""Which partition an event goes to: by its key, always the same one; without a key, in turn.

The hash is Bob Jenkins's lookup3 (hashlittle2), public domain, http://burtleburtle.net/bob/c/lookup3.c, folded to 16
bits as Event Hubs does it. Kafka clients place by their own hash, so one key may lie elsewhere for each protocol.
"""

from __future__ import annotations

import itertools
import struct

_MASK = 0xFFFFFFFF
_INITIAL = 0xDEADBEEF
_WORDS = struct.Struct("<III")


class Placement:
    """The partitions of one hub, as one sender sees them."""

    def __init__(self) -> None:
        self._turn = itertools.count()

    def partition(self, key: bytes | None, partitions: int) -> int:
        """The partition for a key, or the next in turn."""
        if key is None:
            return next(self._turn) % partitions
        # The remainder is cut towards zero, as the service and its .NET client do it.
        return abs(hash_code(key)) % partitions


def hash_code(key: bytes) -> int:
    """The key's hash, signed, 16 bits; 0 for the empty key."""
    if not key:
        return 0
    first, second = _lookup3(key)
    folded = (first ^ second) & 0xFFFF
    return folded - 0x10000 if folded & 0x8000 else folded


def _rotate(value: int, count: int) -> int:
    return (value << count | value >> (32 - count)) & _MASK


def _lookup3(key: bytes) -> tuple[int, int]:
    a = b = c = (_INITIAL + len(key)) & _MASK
    # All blocks but the last are mixed; the last, of 1 to 12 bytes, is filled with zeros and finished.
    last = (len(key) - 1) // 12 * 12
    for position in range(0, last, 12):
        a, b, c = _mix(*_added(a, b, c, key[position : position + 12]))
    a, b, c = _finish(*_added(a, b, c, key[last:].ljust(12, b"\0")))
    return c, b


def _added(a: int, b: int, c: int, block: bytes) -> tuple[int, int, int]:
    x, y, z = _WORDS.unpack(block)
    return (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for rotation in ((4, 6, 8), (16, 19, 4)):
        a, c = ((a - c) & _MASK) ^ _rotate(c, rotation[0]), (c + b) & _MASK
        b, a = ((b - a) & _MASK) ^ _rotate(a, rotation[1]), (a + c) & _MASK
        c, b = ((c - b) & _MASK) ^ _rotate(b, rotation[2]), (b + a) & _MASK
    return a, b, c


def _finish(a: int, b: int, c: int) -> tuple[int, int, int]:
    c = ((c ^ b) - _rotate(b, 14)) & _MASK
    a = ((a ^ c) - _rotate(c, 11)) & _MASK
    b = ((b ^ a) - _rotate(a, 25)) & _MASK
    c = ((c ^ b) - _rotate(b, 16)) & _MASK
    a = ((a ^ c) - _rotate(c, 4)) & _MASK
    b = ((b ^ a) - _rotate(a, 14)) & _MASK
    c = ((c ^ b) - _rotate(b, 24)) & _MASK
    return a, b, c
