"""The two ways AMQP arrives on the port: plain, or inside a WebSocket (RFC 6455). The first bytes tell them apart."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from typing import Protocol

_READ_BYTES = 256 * 1024
_FIRST_BYTES = 4
_MAX_REQUEST_BYTES = 16 * 1024
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_SUBPROTOCOLS = ("amqp", "amqpwsb10")
_PATH = "/$servicebus/websocket"
_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # from the RFC
_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x2, 0x8, 0x9, 0xA
_FINAL, _MASKED = 0x80, 0x80


class NotServed(Exception):
    """The client speaks something else; the message says what was expected."""


class Stream(Protocol):
    """Bytes of AMQP in both directions."""

    async def read(self) -> bytes:
        """What has arrived; b"" at the end."""

    def write(self, data: bytes) -> None:
        """Send, or keep until the peer reads."""

    async def drain(self) -> None:
        """Return when the peer has read enough to send more."""


async def open_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
    """The stream that the client's first bytes ask for. NotServed after a WebSocket request that was refused."""
    first = b""
    while len(first) < _FIRST_BYTES:
        data = await reader.read(_READ_BYTES)
        if not data:
            break
        first += data
    if first.startswith(b"GET "):
        return await _upgrade(first, reader, writer)
    return _PlainStream(first, reader, writer)


class _PlainStream:
    def __init__(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._first = first
        self._reader = reader
        self.write = writer.write
        self.drain = writer.drain

    async def read(self) -> bytes:
        first, self._first = self._first, b""
        return first or await self._reader.read(_READ_BYTES)


async def _upgrade(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
    while b"\r\n\r\n" not in request:
        data = await reader.read(_READ_BYTES)
        if not data or len(request) > _MAX_REQUEST_BYTES:
            raise NotServed("a WebSocket request must end")
        request += data
    head, _, rest = request.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    path = lines[0].split(" ")[1]
    key = headers.get("sec-websocket-key")
    if path.lower().rstrip("/") != _PATH or headers.get("upgrade", "").lower() != "websocket" or not key:
        text = f"This port speaks AMQP 1.0, also as a WebSocket at {_PATH}.\n"
        writer.write(
            f"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
            f"Connection: close\r\n\r\n{text}".encode()
        )
        raise NotServed(f"an HTTP request for {path[:100]!r} is no WebSocket at {_PATH} (is this an AMQP client?)")
    digest = hashlib.sha1(key.encode() + _ACCEPT_SUFFIX, usedforsecurity=False).digest()
    answer = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
    ]
    offered = headers.get("sec-websocket-protocol", "").split(",")
    spoken = [name.strip() for name in offered if name.strip().lower() in _SUBPROTOCOLS]
    answer += [f"Sec-WebSocket-Protocol: {name}" for name in spoken[:1]]
    writer.write("\r\n".join([*answer, "", ""]).encode("latin-1"))
    return _WebSocketStream(rest, reader, writer)


class _WebSocketStream:
    """Messages are a stream here: where one ends means nothing to AMQP."""

    def __init__(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._buffer = bytearray(first)
        self._reader = reader
        self._writer = writer
        self._ended = False
        self.drain = writer.drain

    def write(self, data: bytes) -> None:
        self._send(_BINARY, data)

    def _send(self, opcode: int, data: bytes) -> None:
        size = len(data)
        if size < 126:
            head = bytes((_FINAL | opcode, size))
        elif size < 2**16:
            head = struct.pack(">BBH", _FINAL | opcode, 126, size)
        else:
            head = struct.pack(">BBQ", _FINAL | opcode, 127, size)
        self._writer.write(head + data)

    async def read(self) -> bytes:
        while not self._ended:
            arrived = self._take_messages()
            if arrived:
                return arrived
            data = b"" if self._ended else await self._reader.read(_READ_BYTES)
            if not data:
                break
            self._buffer += data
        return b""

    def _take_messages(self) -> bytes:
        arrived = []
        while not self._ended and (message := self._take_frame()) is not None:
            opcode, data = message
            if opcode in (_CONTINUATION, _BINARY):
                arrived.append(data)
            elif opcode == _PING:
                self._send(_PONG, data)
            elif opcode == _CLOSE:
                self._send(_CLOSE, data[:2])
                self._ended = True
            elif opcode != _PONG:
                raise NotServed(f"WebSocket opcode {opcode} is not taken, AMQP is binary")
        return b"".join(arrived)

    def _take_frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        if not buffer[1] & _MASKED:
            raise NotServed("a WebSocket client must mask its frames")
        size, at = buffer[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(buffer) < 2 + width:
                return None
            size, at = int.from_bytes(buffer[2 : 2 + width], "big"), 2 + width
        if size > _MAX_MESSAGE_BYTES:
            raise NotServed(f"a WebSocket frame of {size} bytes is not taken")
        if len(buffer) < at + 4 + size:
            return None
        mask = bytes(buffer[at : at + 4])
        data = _unmasked(bytes(buffer[at + 4 : at + 4 + size]), mask)
        opcode = buffer[0] & 0x0F
        del buffer[: at + 4 + size]
        return opcode, data


def _unmasked(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")
