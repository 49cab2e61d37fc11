"""Sends events over the Kafka protocol: to the local hub in plain text, to Event Hubs with its connection string."""

import asyncio
import contextlib
import logging
import ssl
import time
from types import TracebackType
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from infra.feed.replay import Place
from infra.local.eventhubs.amqp.placement import Placement
from infra.settings import Settings
from models.errors import ConfigurationError, TryLater

# What aiokafka warns of is raised to us too; without a handler Python would print it, several times a second.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())
# Event Hubs takes 1 MB a request.
_MAX_REQUEST_BYTES = 1_000_000
_STOP_S = 10.0


class Sender:
    """An idempotent producer keyed by device: a device's events stay on one partition, in order, once each.

    The partition is the one that Event Hubs gives the same key over AMQP, so a device that sends itself and is
    replayed as well has all its events on one. Kafka answers with (partition, offset), which a replay accounts by.

    It goes on through a restart of the hub, retrying each event for `patience_s`; then TryLater is raised.
    Use as an async context manager, which raises ConfigurationError when there is no such hub.
    """

    def __init__(self, settings: Settings, *, patience_s: float = 120.0) -> None:
        self._hub = settings.hub
        self._bootstrap = settings.kafka_bootstrap
        self._patience_s = patience_s
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka_bootstrap,
            enable_idempotence=True,
            acks="all",
            linger_ms=5,
            max_batch_size=_MAX_REQUEST_BYTES // 2,
            max_request_size=_MAX_REQUEST_BYTES,
            request_timeout_ms=round(patience_s * 1000),  # also how long aiokafka retries a batch
            retry_backoff_ms=100,
            metadata_max_age_ms=60_000,
            partitioner=_partition,
            **_security(settings),
        )

    async def __aenter__(self) -> "Sender":
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                await self._producer.start()
                break
            except KafkaError as error:
                if time.monotonic() > deadline:
                    await self._producer.stop()
                    raise TryLater(f"the hub at {self._bootstrap} does not answer: {error}") from error
                await asyncio.sleep(0.2)
        try:
            await self._require_hub()
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def _require_hub(self) -> None:
        """Raise ConfigurationError if there is no such hub: aiokafka would wait in vain, as long as its patience."""
        client = self._producer.client
        client.add_topic(self._hub)
        if await client.force_metadata_update() and self._hub not in client.cluster.topics():
            raise ConfigurationError(
                f"there is no hub {self._hub} at {self._bootstrap}; name one that exists in PENSTOCK_HUB"
            )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is queued goes out first; but a hub that is gone must not hold us up for as long as a send may take.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._producer.stop(), _STOP_S)

    async def send(self, device: str, body: bytes) -> "asyncio.Future[Place]":
        """Queue an event; the result is (partition, offset) once the hub has stored it.

        Waits while too many bytes are in flight. Event order per device is the order of these calls.
        """
        try:
            stored = await self._producer.send(self._hub, value=body, key=device.encode())
        except KafkaError as error:
            raise TryLater(f"the hub at {self._bootstrap} does not take events: {error!r}") from error
        return asyncio.ensure_future(self._placed(stored))

    async def _placed(self, stored: "asyncio.Future[Any]") -> Place:
        try:
            record = await stored
        except KafkaError as error:
            raise TryLater(f"the hub at {self._bootstrap} did not store an event: {error!r}") from error
        return record.partition, record.offset


def _partition(key: bytes, partitions: list[int], available: list[int]) -> int:
    return Placement().partition(key, len(partitions))


def _security(settings: Settings) -> dict[str, Any]:
    if settings.kafka_connection is None:
        return {}
    return {
        "security_protocol": "SASL_SSL",
        "ssl_context": ssl.create_default_context(),
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "$ConnectionString",
        "sasl_plain_password": settings.kafka_connection.get_secret_value(),
    }
