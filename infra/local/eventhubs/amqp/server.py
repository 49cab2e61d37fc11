"""The AMQP listener, with TLS or without. A connection that sends what is no AMQP is closed, the others go on."""

from __future__ import annotations

import asyncio
import logging
import ssl

from ..hub import Hub
from .connection import Connection, Endpoint
from .streams import Ended, NotServed, PlainStream, Stream, stream_for

_log = logging.getLogger(__name__)
_MAX_UNREAD_BYTES = 64 * 1024 * 1024
"""What a client that never reads may leave lying here before it is disconnected."""
_GREETING_S = 60.0
_GOODBYE_S = 1.0


class AmqpServer:
    """The listener of one hub."""

    def __init__(self, hub: Hub, tls: ssl.SSLContext | None = None, endpoint: Endpoint | None = None) -> None:
        self._settings = hub.settings
        self._endpoint = endpoint or Endpoint(hub)
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._clients: set[_Client] = set()
        self.port = 0

    async def start(self) -> None:
        """Listen; afterwards `port` is the bound one."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Client(self._endpoint, self._clients),
            self._settings.host,
            self._settings.amqp_port,
            ssl=self._tls,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end every connection; unsettled deliveries stay unsettled."""
        if self._server is not None:
            self._server.close()
        for client in tuple(self._clients):
            client.abort()
        await asyncio.sleep(0)


class _Client(asyncio.Protocol):
    """One connection's socket. What is written in one turn of the loop goes out as one piece."""

    _transport: asyncio.Transport

    def __init__(self, endpoint: Endpoint, clients: set[_Client]) -> None:
        self._loop = asyncio.get_running_loop()
        self._clients = clients
        self._connection = Connection(endpoint, self, self._loop.time())
        self._stream: Stream = PlainStream()
        self._first: bytes | None = b""
        """What has come, until it tells what the client speaks."""
        self._unsent: list[bytes] = []
        self._reading = False
        self._resumed: asyncio.Future[None] | None = None
        """Set while the client does not read what was sent."""
        self._timer: asyncio.TimerHandle | None = None

    # ---- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._clients.add(self)
        self._timer = self._loop.call_later(_GREETING_S, self.abort)

    def data_received(self, data: bytes) -> None:
        """The client has sent something: at most a few hundred KiB, then it is another's turn."""
        if self._transport.is_closing():
            return
        self._reading = True
        try:
            self._receive(data)
        except NotServed as error:
            level = logging.DEBUG if isinstance(error, Ended) else logging.WARNING
            _log.log(level, "closing the connection from %s: %s", self._peer, error)
            self._unsent.append(error.answer)
            self._close()
        except Exception:
            _log.exception("closing the connection from %s: a frame could not be handled", self._peer)
            self._close()
        finally:
            self._reading = False
            self._send()

    def pause_writing(self) -> None:
        """The client does not read."""
        self._resumed = self._loop.create_future()

    def resume_writing(self) -> None:
        """It does again."""
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """The client has gone."""
        self._clients.discard(self)
        self._unsent.clear()
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        self._connection.abandon()

    # ---- called by the AMQP connection

    def write(self, data: bytes) -> None:
        """Send, or keep until the client reads."""
        if not self._unsent and not self._reading:
            self._loop.call_soon(self._send)
        self._unsent.append(self._stream.wrap(data))

    async def drain(self) -> None:
        """Return when the client has read enough to send more; ConnectionResetError when it has gone."""
        self._send()
        if self._resumed is not None:
            await asyncio.shield(self._resumed)
        if self._transport.is_closing():
            raise ConnectionResetError("the client has gone")

    # ----

    @property
    def _peer(self) -> object:
        return self._transport.get_extra_info("peername")

    def _receive(self, data: bytes) -> None:
        if self._first is not None:
            data = self._first + data
            stream = stream_for(data, self._unsent.append)
            if stream is None:
                self._first = data
                return
            self._stream, self._first = stream, None
            self._tick()
        arrived = self._stream.feed(data)
        if arrived:
            self._connection.receive(arrived, self._loop.time())
        # Reading goes on while the client does not read: it may be waiting for us to read first. Up to a limit.
        if self._transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
            _log.warning("closing the connection from %s: it does not read", self._peer)
            self.abort()
        elif self._connection.closed:
            self._close()

    def _send(self) -> None:
        if self._unsent:
            data = b"".join(self._unsent)
            self._unsent.clear()
            if not self._transport.is_closing():
                self._transport.write(data)

    def _tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connection.tick(self._loop.time())
        if self._connection.closed:
            self._close()
        else:
            self._timer = self._loop.call_later(self._connection.tick_s, self._tick)

    def _close(self) -> None:
        """Let the client read what it was sent, for a moment."""
        self._send()
        self._transport.close()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_GOODBYE_S, self.abort)

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()
