"""Cutting a stream of bytes into protocol headers and frames, and making frames.

A frame: size (4 bytes, of all of it), data offset in words, type, channel; then its body.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from .errors import FRAMING_ERROR, ConnectionFailed

AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
AMQP_FRAME, SASL_FRAME = 0, 1
MIN_MAX_FRAME_BYTES = 512
"""Every peer takes frames of this size."""
FRAME_HEADER_BYTES = 8
_HEADER = struct.Struct(">IBBH")
EMPTY_FRAME = _HEADER.pack(FRAME_HEADER_BYTES, 2, AMQP_FRAME, 0)


class Frame(NamedTuple):
    """`body` is empty in a heartbeat."""

    type: int
    channel: int
    body: bytes


def frame(channel: int, body: bytes, frame_type: int = AMQP_FRAME) -> bytes:
    """A frame around its body."""
    return _HEADER.pack(FRAME_HEADER_BYTES + len(body), 2, frame_type, channel) + body


class FrameReader:
    """Gathers what arrives. It holds at most one frame more than it was given at once."""

    def __init__(self, max_frame_bytes: int) -> None:
        self._max = max_frame_bytes
        self._buffer = bytearray()
        self._position = 0

    def feed(self, data: bytes) -> None:
        """Add what the socket gave."""
        del self._buffer[: self._position]
        self._position = 0
        self._buffer += data

    def next_header(self) -> bytes | None:
        """The protocol header that comes next, or None until all of it is there."""
        if len(self._buffer) - self._position < FRAME_HEADER_BYTES:
            return None
        return self._take(FRAME_HEADER_BYTES)

    def next_frame(self) -> Frame | None:
        """The next frame, or None until all of it is there; ConnectionFailed for what is none."""
        available = len(self._buffer) - self._position
        if available < FRAME_HEADER_BYTES:
            return None
        size, data_offset, frame_type, channel = _HEADER.unpack_from(self._buffer, self._position)
        if not FRAME_HEADER_BYTES <= size <= self._max:
            raise ConnectionFailed(FRAMING_ERROR, f"a frame of {size} bytes is not taken, at most {self._max} are")
        body_at = data_offset * 4
        if not FRAME_HEADER_BYTES <= body_at <= size:
            raise ConnectionFailed(FRAMING_ERROR, f"a frame of {size} bytes cannot begin its body at {body_at}")
        if available < size:
            return None
        return Frame(frame_type, channel, self._take(size)[body_at:])

    def _take(self, count: int) -> bytes:
        start = self._position
        self._position += count
        return bytes(memoryview(self._buffer)[start : self._position])
