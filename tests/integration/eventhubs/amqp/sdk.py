"""Sending and receiving with the real SDK, sync, in a few words."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Any

from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient
from azure.eventhub._pyamqp._decode import _DECODE_BY_CONSTRUCTOR

from infra.local.eventhubs.testing import RunningHub

WAIT_S = 20.0


def producer(hub: RunningHub, topic: str, **options: Any) -> EventHubProducerClient:
    """Without retries, so that an error is seen at once."""
    options = {"retry_total": 0, **options}
    return EventHubProducerClient.from_connection_string(hub.connection_string, eventhub_name=topic, **options)


def consumer(hub: RunningHub, topic: str, group: str = "$Default", **options: Any) -> EventHubConsumerClient:
    """Without retries, so that an error is seen at once."""
    options = {"retry_total": 0, **options}
    return EventHubConsumerClient.from_connection_string(hub.connection_string, group, eventhub_name=topic, **options)


def send(hub: RunningHub, topic: str, events: Iterable[EventData | bytes], **where: str) -> None:
    """All events in one batch, to a partition id or key if given."""
    with producer(hub, topic) as client:
        batch = client.create_batch(**where)
        for event in events:
            batch.add(event if isinstance(event, EventData) else EventData(event))
        client.send_batch(batch)


class Listening:
    """A consumer on a thread, its events gathered as they come.

    With `batched` it takes many at once; else one by one, with a wait of 0.2 s at each partition that has none left.
    """

    def __init__(self, client: EventHubConsumerClient, *, batched: bool = False, **options: Any) -> None:
        self._batched = batched
        self.events: list[EventData] = []
        self.placed: list[tuple[str, EventData]] = []
        """The same with their partitions."""
        self.errors: list[Exception] = []
        self._client = client
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._receive, args=(options,))
        self._thread.start()

    def _receive(self, options: dict[str, Any]) -> None:
        with contextlib.suppress(Exception):  # `close` ends it from another thread, with whatever error that makes
            if self._batched:
                self._client.receive_batch(self._on_batch, on_error=self._on_error, **options)
            else:
                self._client.receive(self._on_event, on_error=self._on_error, **options)

    def _on_batch(self, context: Any, events: list[EventData]) -> None:
        for event in events:
            self._on_event(context, event)

    def _on_event(self, context: Any, event: EventData | None) -> None:
        with self._changed:
            if event is not None:
                self.events.append(event)
                self.placed.append((context.partition_id, event))
                self._changed.notify_all()

    def _on_error(self, _context: Any, error: Exception) -> None:
        with self._changed:
            self.errors.append(error)
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], object], timeout_s: float = WAIT_S) -> bool:
        """Whether the condition came true in time."""
        with self._changed:
            return bool(self._changed.wait_for(condition, timeout_s))

    def close(self) -> None:
        """Stop receiving."""
        self._client.close()
        self._thread.join(WAIT_S)

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def receive(hub: RunningHub, topic: str, count: int, partition: str = "0", **options: Any) -> list[EventData]:
    """The first `count` events of a partition."""
    options = {"starting_position": "-1", **options}
    with Listening(consumer(hub, topic), partition_id=partition, **options) as listening:
        assert listening.wait_for(lambda: len(listening.events) >= count), (listening.events, listening.errors)
        return list(listening.events)


def amqp_value(data: bytes) -> object:
    """What a Kafka consumer does to read a property written over AMQP."""
    return _DECODE_BY_CONSTRUCTOR[data[0]](memoryview(data)[1:])[1]


def bodies(events: Iterable[EventData]) -> list[bytes]:
    """Their data."""
    return [b"".join(event.body) for event in events]
