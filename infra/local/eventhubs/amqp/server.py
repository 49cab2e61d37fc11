"""The AMQP listener: one task per connection. A connection that sends what is no AMQP is closed, the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from ..hub import Hub
from .connection import Connection, Endpoint
from .streams import NotServed, Stream, open_stream

_log = logging.getLogger(__name__)
_MAX_UNREAD_BYTES = 64 * 1024 * 1024
"""What a client that never reads may leave lying here before it is disconnected."""
_GREETING_S = 60.0
_GOODBYE_S = 1.0


class AmqpServer:
    """The listener of one hub."""

    def __init__(self, hub: Hub, endpoint: Endpoint | None = None) -> None:
        self._settings = hub.settings
        self._endpoint = endpoint or Endpoint(hub)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Listen; afterwards `port` is the bound one."""
        self._server = await asyncio.start_server(self._accept, self._settings.host, self._settings.amqp_port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        peer = writer.get_extra_info("peername")
        try:
            async with asyncio.timeout(_GREETING_S):
                stream = await open_stream(reader, writer)
            await _serve(self._endpoint, stream, writer)
        except NotServed as error:
            _log.warning("closing the connection from %s: %s", peer, error)
        except (OSError, asyncio.CancelledError):
            pass  # the client has gone (or never said anything), or the server stops
        except Exception:
            _log.exception("closing the connection from %s: a frame could not be handled", peer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def close(self) -> None:
        """Stop listening and end every connection; unsettled deliveries stay unsettled."""
        if self._server is not None:
            self._server.close()
        connections = tuple(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _serve(endpoint: Endpoint, stream: Stream, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    connection = Connection(endpoint, stream, loop.time())
    ticking = loop.create_task(_tick(connection, writer))
    try:
        while not connection.closed and (data := await stream.read()):
            connection.receive(data, loop.time())
            # Reading goes on while the client does not read: it may be waiting for us to read first. Up to a limit.
            if writer.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
                _log.warning("closing the connection from %s: it does not read", writer.get_extra_info("peername"))
                writer.transport.abort()
                return
            await asyncio.sleep(0)  # a flood of frames must not keep the loop to itself
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await stream.drain()
    finally:
        ticking.cancel()
        connection.abandon()


async def _tick(connection: Connection, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    while not connection.closed:
        await asyncio.sleep(connection.tick_s)
        connection.tick(loop.time())
    writer.close()
