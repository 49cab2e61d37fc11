"""The two ways AMQP arrives on the port: plain, or inside a WebSocket (RFC 6455). The first bytes tell them apart."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Callable
from typing import Protocol

_FIRST_BYTES = 4
_MAX_REQUEST_BYTES = 16 * 1024
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_SUBPROTOCOLS = ("amqp", "amqpwsb10")
_PATH = "/$servicebus/websocket"
_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # from the RFC
_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x2, 0x8, 0x9, 0xA
_FINAL, _MASKED = 0x80, 0x80


class NotServed(Exception):
    """The connection is to be closed; the message says what was expected. `answer` goes to the client before."""

    def __init__(self, reason: str, answer: bytes = b"") -> None:
        super().__init__(reason)
        self.answer = answer


class Ended(NotServed):
    """The client has said goodbye."""


class Stream(Protocol):
    """Between the bytes of the socket and those of AMQP."""

    def feed(self, data: bytes) -> bytes:
        """The bytes of AMQP in what the socket gave, b"" if none are whole yet. NotServed for what is refused."""

    def wrap(self, data: bytes) -> bytes:
        """What to give to the socket to send bytes of AMQP."""


class PlainStream:
    """Nothing between them."""

    def feed(self, data: bytes) -> bytes:
        """The same."""
        return data

    def wrap(self, data: bytes) -> bytes:
        """The same."""
        return data


def stream_for(first: bytes, reply: Callable[[bytes], None]) -> Stream | None:
    """The stream that the client's first bytes ask for; None until there are enough. `reply` writes to the socket."""
    if len(first) < _FIRST_BYTES:
        return None
    return WebSocketStream(reply) if first.startswith(b"GET ") else PlainStream()


def _upgrade(request: bytes) -> bytes:
    """The answer to a request for a WebSocket."""
    lines = request.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    path = lines[0].split(" ")[1]
    key = headers.get("sec-websocket-key")
    if path.lower().rstrip("/") != _PATH or headers.get("upgrade", "").lower() != "websocket" or not key:
        text = f"This port speaks AMQP 1.0, also as a WebSocket at {_PATH}.\n"
        raise NotServed(
            f"an HTTP request for {path[:100]!r} is no WebSocket at {_PATH} (is this an AMQP client?)",
            f"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
            f"Connection: close\r\n\r\n{text}".encode(),
        )
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
    return "\r\n".join([*answer, "", ""]).encode("latin-1")


class WebSocketStream:
    """Messages are a stream here: where one ends means nothing to AMQP."""

    def __init__(self, reply: Callable[[bytes], None]) -> None:
        self._reply = reply
        self._buffer = bytearray()
        self._upgraded = False
        self._ended = False

    def wrap(self, data: bytes) -> bytes:
        """A binary message."""
        return _message(_BINARY, data)

    def feed(self, data: bytes) -> bytes:
        """What whole messages hold; the request for the WebSocket and control frames are answered."""
        self._buffer += data
        if not self._upgraded and not self._take_request():
            return b""
        arrived = []
        while not self._ended and (message := self._take_frame()) is not None:
            opcode, content = message
            if opcode in (_CONTINUATION, _BINARY):
                arrived.append(content)
            elif opcode == _PING:
                self._reply(_message(_PONG, content))
            elif opcode == _CLOSE:
                self._ended = True
            elif opcode != _PONG:
                raise NotServed(f"WebSocket opcode {opcode} is not taken, AMQP is binary")
        if self._ended and not arrived:
            raise Ended("the client has closed its WebSocket", _message(_CLOSE, b""))
        return b"".join(arrived)

    def _take_request(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_REQUEST_BYTES:
                raise NotServed("a WebSocket request must end")
            return False
        self._reply(_upgrade(bytes(self._buffer[:end])))
        del self._buffer[: end + 4]
        self._upgraded = True
        return True

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


def _message(opcode: int, data: bytes) -> bytes:
    """A whole, unmasked WebSocket message."""
    size = len(data)
    if size < 126:
        head = bytes((_FINAL | opcode, size))
    elif size < 2**16:
        head = struct.pack(">BBH", _FINAL | opcode, 126, size)
    else:
        head = struct.pack(">BBQ", _FINAL | opcode, 127, size)
    return head + data


def _unmasked(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")
