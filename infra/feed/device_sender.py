"""Sends events as devices do: over AMQP with `azure-eventhub`, to the local hub or to Event Hubs."""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from types import TracebackType

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.exceptions import EventHubError

from infra.azure.eventhub import translate
from infra.feed.replay import Place
from infra.settings import Settings
from models.errors import ConfigurationError, PenstockError, TryLater

_SEND_S = 15.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_STOP_S = 10.0
# What the SDK warns of is raised to us too; without a handler Python would print it in the middle of a live view.
logging.getLogger("azure.eventhub").addHandler(logging.NullHandler())

_Queued = tuple[bytes, "asyncio.Future[Place]"]


class DeviceSender:
    """A producer that uses the device as partition key: its events stay on one partition, in order.

    What waits for one device is packed into one batch; a batch is one round trip, so the more devices there are, the
    more each of their batches holds. A batch is sent again until the hub has acknowledged it, for `patience_s`; then
    TryLater is raised. A hub that is not there, or refuses the key, raises ConfigurationError at once. AMQP has no
    idempotent producer: a batch whose acknowledgement was lost is stored twice, and its readings count once. Use as
    an async context manager.
    """

    def __init__(self, settings: Settings, *, patience_s: float = 120.0) -> None:
        self._hub = settings.hub
        self._connection = settings.amqp_connection.get_secret_value()
        self._patience_s = patience_s
        self._client: EventHubProducerClient | None = None
        self._queued: defaultdict[str, list[_Queued]] = defaultdict(list)
        self._wake, self._empty = asyncio.Event(), asyncio.Event()
        self._empty.set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "DeviceSender":
        """Connects with the first event. Raises ConfigurationError if the connection string is none."""
        self._connected()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is queued goes out first; but a hub that is gone must not hold us up for as long as a send may take.
        assert self._task is not None
        waiting = asyncio.create_task(self._empty.wait())
        await asyncio.wait({waiting, self._task}, timeout=_STOP_S, return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, self._task):
            task.cancel()
        await asyncio.gather(waiting, self._task, return_exceptions=True)
        await self._disconnect()

    async def send(self, device: str, body: bytes) -> "asyncio.Future[Place]":
        """Queue an event; the future is done once the hub has stored it, and holds None: AMQP does not say where.

        Event order per device is the order of these calls.
        """
        stored: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._queued[device].append((body, stored))
        self._empty.clear()
        self._wake.set()
        return stored

    async def ends(self) -> dict[int, int]:
        """The offset that the next event of each partition will get."""
        client = self._connected()
        try:
            ids = await client.get_partition_ids()
            found = await asyncio.gather(*(client.get_partition_properties(each) for each in ids))
        except EventHubError as error:
            raise self._translated(error) from error
        return {
            int(each["id"]): 0 if each["is_empty"] else each["last_enqueued_sequence_number"] + 1 for each in found
        }

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queued:
                device = next(iter(self._queued))
                await self._send_all(device, self._queued.pop(device))
            self._empty.set()

    async def _send_all(self, device: str, queued: list[_Queued]) -> None:
        """Send events of one device in order, in as few batches as they fit into; set their futures."""
        while queued:
            try:
                sent = await self._patiently(device, [body for body, _ in queued])
            except Exception as error:  # whatever it is, who waits for the events must hear of it
                for _, stored in queued:
                    if not stored.done():
                        stored.set_exception(error)
                        stored.exception()  # seen: the caller may look at the first only
                return
            for _, stored in queued[:sent]:
                if not stored.done():
                    stored.set_result(None)
            queued = queued[sent:]

    async def _patiently(self, device: str, bodies: list[bytes]) -> int:
        """How many of the first `bodies` the hub has stored, at least one."""
        deadline, pause_s = time.monotonic() + self._patience_s, _FIRST_PAUSE_S
        while True:
            try:
                return await asyncio.wait_for(self._send_batch(device, bodies), _SEND_S)
            except (EventHubError, OSError, TimeoutError) as error:
                ours = self._translated(error, len(bodies[0]))
                if not isinstance(ours, TryLater) or time.monotonic() > deadline:
                    raise ours from error
            await self._disconnect()  # a client that lost its connection, or was cancelled, is not used again
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _send_batch(self, device: str, bodies: list[bytes]) -> int:
        client = self._connected()
        batch = await client.create_batch(partition_key=device)
        for body in bodies:
            try:
                batch.add(EventData(body))
            except ValueError:  # full
                break
        if not len(batch):
            raise ConfigurationError(f"an event of {len(bodies[0])} bytes is larger than the hub takes")
        await client.send_batch(batch)
        return len(batch)

    def _connected(self) -> EventHubProducerClient:
        if self._client is None:
            # No retries inside: `_patiently` has one budget for all of them.
            try:
                self._client = EventHubProducerClient.from_connection_string(
                    self._connection, eventhub_name=self._hub, retry_total=0
                )
            except ValueError as error:  # its message names parts, never values
                raise ConfigurationError(f"PENSTOCK_AMQP_CONNECTION: {error}") from error
        return self._client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(EventHubError, OSError, TimeoutError):
                await asyncio.wait_for(client.close(), _SEND_S)

    def _translated(self, error: Exception, size: int = 0) -> PenstockError:
        """Our error for one of the SDK's; what the user has to set right comes with the names of the settings."""
        ours = translate(error, self._hub, size)
        if isinstance(ours, ConfigurationError):
            return ConfigurationError(f"{ours} (see PENSTOCK_HUB and PENSTOCK_AMQP_CONNECTION)")
        return ours
