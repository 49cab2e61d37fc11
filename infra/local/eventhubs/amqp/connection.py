"""One connection: headers, SASL, open and close, heartbeats, and its sessions. Bytes in, bytes out, no socket."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from ..hub import Hub
from . import performatives as wire
from .errors import (
    CONNECTION_FORCED,
    FRAMING_ERROR,
    NOT_ALLOWED,
    RESOURCE_LIMIT,
    AmqpError,
    ConnectionFailed,
    SessionFailed,
)
from .frames import (
    AMQP_FRAME,
    AMQP_HEADER,
    EMPTY_FRAME,
    MIN_MAX_FRAME_BYTES,
    SASL_HEADER,
    Frame,
    FrameReader,
    frame,
)
from .owners import Owners
from .performatives import Performative
from .sasl import authenticates, mechanisms_frame, outcome_frame
from .session import Session
from .tokens import Access
from .values import UInt, UShort

_log = logging.getLogger(__name__)
MAX_FRAME_BYTES = 64 * 1024
_MAX_CHANNEL = 4999
_TICK_S, _LEAST_TICK_S = 1.0, 0.1
_OPEN_FRAME_SIZE, _OPEN_IDLE = 2, 4


@dataclass
class Endpoint:
    """What all connections share."""

    hub: Hub
    idle_timeout_s: float = 240.0
    """A client that sends nothing for twice as long is disconnected."""
    clock_s: Callable[[], float] = time.time
    owners: Owners = field(default_factory=Owners)

    @property
    def max_message_bytes(self) -> int:
        """Of one transfer, a batch included."""
        return self.hub.settings.namespace.tier.max_publication_bytes


class Output(Protocol):
    """Where a connection's bytes go."""

    def write(self, data: bytes) -> None:
        """Send, or keep until the peer reads."""

    def drain(self) -> Awaitable[None]:
        """Return when the peer has read enough to send more."""


class _State(Enum):
    HEADER = auto()
    SASL = auto()
    AUTHENTICATED = auto()
    OPENING = auto()
    OPEN = auto()
    CLOSED = auto()


class Connection:
    """The server's half of a connection, driven by `receive` and `tick`; `now` is in seconds, monotonic."""

    def __init__(self, endpoint: Endpoint, output: Output, now: float) -> None:
        self.endpoint = endpoint
        self.access = Access(endpoint.hub.settings.namespace, endpoint.clock_s)
        self.remote_max_frame_bytes = MIN_MAX_FRAME_BYTES
        self.output = output
        self._reader = FrameReader(MAX_FRAME_BYTES)
        self._state = _State.HEADER
        self._sessions: dict[int, Session] = {}
        self._ended: set[int] = set()
        self._last_received = self._last_sent = now
        self._has_sent = False
        self._heartbeat_s: float | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing more will be sent or taken."""
        return self._state is _State.CLOSED

    def receive(self, data: bytes, now: float) -> None:
        """Take what the socket gave. What is no AMQP closes the connection."""
        self._last_received = now
        self._reader.feed(data)
        try:
            while not self.closed and self._advance():
                pass
        except ConnectionFailed as error:
            _log.warning("closing a connection: %s", error)
            self.close(error)

    def _advance(self) -> bool:
        """Handle what comes next; False until more has arrived."""
        if self._state in (_State.HEADER, _State.AUTHENTICATED):
            header = self._reader.next_header()
            if header is not None:
                self._on_header(header)
            return header is not None
        received = self._reader.next_frame()
        if received is None:
            return False
        if self._state is _State.SASL:
            self._on_sasl(received)
        elif received.type != AMQP_FRAME:
            raise ConnectionFailed(FRAMING_ERROR, f"a frame of type {received.type} has no place here")
        elif received.body:
            self._on_frame(received)
        return True

    def _on_header(self, header: bytes) -> None:
        if header == SASL_HEADER and self._state is _State.HEADER:
            self.write(SASL_HEADER + mechanisms_frame())
            self._state = _State.SASL
        elif header == AMQP_HEADER:
            self.write(AMQP_HEADER)
            self._state = _State.OPENING
        else:
            # What the peer should have sent, as the specification wants it.
            self.write(SASL_HEADER)
            raise ConnectionFailed(FRAMING_ERROR, f"{header!r} begins no AMQP (is this an AMQP client, without TLS?)")

    def _on_sasl(self, received: Frame) -> None:
        accepted = authenticates(received, self.access)
        self.write(outcome_frame(authenticated=accepted))
        if accepted:
            self._state = _State.AUTHENTICATED
        else:
            self._drop()

    def _on_frame(self, received: Frame) -> None:
        performative = wire.read(received.body)
        if self._state is _State.OPENING:
            if performative.code != wire.OPEN:
                raise ConnectionFailed(NOT_ALLOWED, "a connection begins with an open")
            self._on_open(performative)
        elif performative.code == wire.CLOSE:
            self.close()
        elif performative.code == wire.BEGIN:
            self._on_begin(received.channel, performative)
        elif performative.code == wire.OPEN:
            raise ConnectionFailed(NOT_ALLOWED, "the connection is open already")
        else:
            self._on_session_frame(received, performative)

    def _on_open(self, performative: Performative) -> None:
        size = performative.field(_OPEN_FRAME_SIZE, int)
        self.remote_max_frame_bytes = min(2**20, max(MIN_MAX_FRAME_BYTES, 2**20 if size is None else size))
        idle_ms = performative.field(_OPEN_IDLE, int)
        self._heartbeat_s = idle_ms / 2000 if idle_ms else None
        self._state = _State.OPEN
        self.send(
            0,
            wire.write(
                wire.OPEN,
                self.endpoint.hub.cluster_id,
                None,
                UInt(MAX_FRAME_BYTES),
                UShort(_MAX_CHANNEL),
                UInt(int(self.endpoint.idle_timeout_s * 1000)),
            ),
        )

    def _on_begin(self, channel: int, performative: Performative) -> None:
        if channel in self._sessions:
            raise ConnectionFailed(NOT_ALLOWED, f"channel {channel} has a session already")
        if channel > _MAX_CHANNEL:
            raise ConnectionFailed(RESOURCE_LIMIT, f"channels go up to {_MAX_CHANNEL}")
        self._ended.discard(channel)
        self._sessions[channel] = Session(self, channel, performative)

    def _on_session_frame(self, received: Frame, performative: Performative) -> None:
        session = self._sessions.get(received.channel)
        if session is None:
            # The Python SDK detaches links after it has ended their session: such frames are meaningless, not wrong.
            if received.channel not in self._ended:
                raise ConnectionFailed(NOT_ALLOWED, f"channel {received.channel} has no session")
            return
        if performative.code == wire.END:
            self.end(received.channel)
            return
        try:
            session.receive(performative, received.body)
        except SessionFailed as error:
            self.end(received.channel, error)

    def end(self, channel: int, error: SessionFailed | None = None) -> None:
        """End a session, and tell the client."""
        session = self._sessions.pop(channel, None)
        if session is None:
            return
        session.abandon()
        self._ended.add(channel)
        self.send(channel, wire.write(wire.END, None if error is None else wire.error_value(error)))

    def send(self, channel: int, body: bytes) -> None:
        """Send one frame."""
        self.write(frame(channel, body))

    def write(self, data: bytes) -> None:
        """Send bytes that are whole frames; nothing after the close."""
        if not self.closed:
            self.output.write(data)
            self._has_sent = True

    @property
    def tick_s(self) -> float:
        """How often `tick` is to be called."""
        return _TICK_S if self._heartbeat_s is None else min(_TICK_S, max(_LEAST_TICK_S, self._heartbeat_s / 2))

    def tick(self, now: float) -> None:
        """Send a heartbeat if it is time, end what has expired."""
        if self.closed:
            return
        if self._has_sent:
            self._last_sent, self._has_sent = now, False
        if now - self._last_received > 2 * self.endpoint.idle_timeout_s:
            self.close(ConnectionFailed(CONNECTION_FORCED, "nothing was received for the idle time-out"))
            return
        if self._heartbeat_s is not None and now - self._last_sent >= self._heartbeat_s / 2:
            self.write(EMPTY_FRAME)
        for session in tuple(self._sessions.values()):
            session.check_access()

    def close(self, error: AmqpError | None = None) -> None:
        """Say goodbye, if the peer has come so far as to understand it."""
        if self.closed:
            return
        if self._state is _State.OPEN:
            self.send(0, wire.write(wire.CLOSE, None if error is None else wire.error_value(error)))
        self._drop()

    def _drop(self) -> None:
        self._state = _State.CLOSED
        for session in self._sessions.values():
            session.abandon()
        self._sessions.clear()

    def abandon(self) -> None:
        """The peer has gone: free what its links hold."""
        self._drop()
