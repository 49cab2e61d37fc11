"""The Kafka listener: one task per connection, requests of a connection in order.

A connection that sends what is no request is closed; the others do not notice. Only produce requests overlap: the
next is read while earlier ones wait for the disk. Answers leave in the order of their requests nevertheless.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import struct
from collections.abc import Awaitable

from kio.schema.errors import ErrorCode

from ..hub import Hub
from . import admin, auth, configs, fetch, group_admin, groups, metadata, produce
from .apis import Api, served
from .codec import BadRequest, Fields, Prefix, decode_request, encode_response, read_prefix
from .session import Handler, Session

_log = logging.getLogger(__name__)
_LENGTH = struct.Struct(">i")
_READ_AHEAD_BYTES = 1024 * 1024
_PRODUCES_IN_FLIGHT = 64

_HANDLERS: dict[int, Handler] = {
    Api.PRODUCE: produce.produce,
    Api.FETCH: fetch.fetch,
    Api.LIST_OFFSETS: fetch.list_offsets,
    Api.METADATA: metadata.metadata,
    Api.OFFSET_COMMIT: groups.offset_commit,
    Api.OFFSET_FETCH: groups.offset_fetch,
    Api.FIND_COORDINATOR: groups.find_coordinator,
    Api.JOIN_GROUP: groups.join_group,
    Api.HEARTBEAT: groups.heartbeat,
    Api.LEAVE_GROUP: groups.leave_group,
    Api.SYNC_GROUP: groups.sync_group,
    Api.DESCRIBE_GROUPS: group_admin.describe_groups,
    Api.LIST_GROUPS: group_admin.list_groups,
    Api.SASL_HANDSHAKE: auth.sasl_handshake,
    Api.API_VERSIONS: metadata.api_versions,
    Api.CREATE_TOPICS: admin.create_topics,
    Api.DELETE_TOPICS: admin.delete_topics,
    Api.DELETE_RECORDS: admin.delete_records,
    Api.INIT_PRODUCER_ID: produce.init_producer_id,
    Api.DESCRIBE_CONFIGS: configs.describe_configs,
    Api.ALTER_CONFIGS: configs.alter_configs,
    Api.SASL_AUTHENTICATE: auth.sasl_authenticate,
    Api.CREATE_PARTITIONS: admin.create_partitions,
    Api.DELETE_GROUPS: group_admin.delete_groups,
    Api.INCREMENTAL_ALTER_CONFIGS: configs.incremental_alter_configs,
    Api.OFFSET_DELETE: group_admin.offset_delete,
    Api.DESCRIBE_CLUSTER: metadata.describe_cluster,
}


class KafkaServer:
    """The listener of one hub."""

    def __init__(self, hub: Hub, tls: ssl.SSLContext | None = None) -> None:
        self._hub = hub
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Listen; afterwards `port` is the bound one."""
        settings = self._hub.settings
        self._server = await asyncio.start_server(
            self._accept, settings.host, settings.kafka_port, limit=_READ_AHEAD_BYTES, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        peer = writer.get_extra_info("peername")
        host = self._hub.settings.advertised_host or writer.get_extra_info("sockname")[0]
        session = Session(self._hub, host, self.port, peer[0] if peer else "")
        try:
            await _Connection(session, reader, writer).serve()
        except (BadRequest, produce.LostWrite) as error:
            _log.warning("closing the connection from %s: %s", peer, error)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the server stops
        except Exception:
            _log.exception("closing the connection from %s: a request could not be handled", peer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def close(self) -> None:
        """Stop listening and end every connection; unanswered requests stay unanswered."""
        if self._server is not None:
            self._server.close()
        connections = tuple(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


class _Connection:
    """Reads requests and writes answers, in order, until the client goes."""

    def __init__(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._session = session
        self._reader = reader
        self._writer = writer
        self._produced: asyncio.Queue[tuple[Prefix, Awaitable[Fields | None]]] = asyncio.Queue()
        self._room = asyncio.Semaphore(_PRODUCES_IN_FLIGHT)

    async def serve(self) -> None:
        """Serve until the client closes the connection, which raises IncompleteReadError."""
        reading = asyncio.create_task(self._read_requests())
        acknowledging = asyncio.create_task(self._acknowledge_produced())
        try:
            done, _ = await asyncio.wait({reading, acknowledging}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (reading, acknowledging):
                task.cancel()
            await asyncio.gather(reading, acknowledging, return_exceptions=True)
            self._forget_produced()

    def _forget_produced(self) -> None:
        while not self._produced.empty():
            _, acknowledgement = self._produced.get_nowait()
            if asyncio.iscoroutine(acknowledgement):
                acknowledgement.close()

    async def _read_requests(self) -> None:
        while True:
            frame = await self._read_frame()
            prefix = read_prefix(frame)
            if not served(prefix.api_key, prefix.api_version):
                await self._answer_unserved(prefix)
                continue
            if not auth.may_ask(self._session, prefix.api_key):
                raise BadRequest(f"API {prefix.api_key} without a key of this namespace")
            request = decode_request(prefix, frame)
            self._session.client_id = request.client_id
            self._session.version = prefix.api_version
            handle = _HANDLERS[prefix.api_key]
            if prefix.api_key == Api.PRODUCE:
                await self._room.acquire()
                self._produced.put_nowait((prefix, handle(self._session, request.body)))
            else:
                await self._produced.join()
                await self._send(prefix, await handle(self._session, request.body))
            # Without throttling still a turn for the others: a flood of requests that are answered at once must not
            # keep the loop to itself.
            wait_s, self._session.throttle_s = self._session.throttle_s, 0.0
            await asyncio.sleep(wait_s)

    async def _read_frame(self) -> bytes:
        # The frame is gathered as it arrives: a length alone never makes the server allocate it.
        (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
        if not 0 < length <= self._session.hub.settings.max_frame_bytes:
            raise BadRequest(f"a frame of {length} bytes is not taken (is this a Kafka client, without TLS?)")
        return await self._reader.readexactly(length)

    async def _answer_unserved(self, prefix: Prefix) -> None:
        if prefix.api_key != Api.API_VERSIONS:
            raise BadRequest(f"API {prefix.api_key} v{prefix.api_version} is not served")
        # A client from the future: in version 0, which every client reads, it learns what there is.
        await self._produced.join()
        await self._send(prefix, metadata.versions_fields(ErrorCode.unsupported_version), version=0)

    async def _acknowledge_produced(self) -> None:
        while True:
            prefix, acknowledgement = await self._produced.get()
            await self._send(prefix, await acknowledgement)
            self._produced.task_done()
            self._room.release()

    async def _send(self, prefix: Prefix, answer: Fields | None, version: int | None = None) -> None:
        if answer is None:
            return
        frame = encode_response(prefix, answer, version)
        self._writer.writelines((_LENGTH.pack(len(frame)), frame))
        with contextlib.suppress(ConnectionResetError):
            await self._writer.drain()
