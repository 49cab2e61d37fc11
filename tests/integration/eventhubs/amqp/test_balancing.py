"""Two consumers share a hub through a checkpoint store, one takes over from the other."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from azure.eventhub import EventData
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore

from infra.local.azurite import RunningAzurite
from infra.local.eventhubs.testing import RunningHub
from tests.integration.eventhubs.amqp.sdk import WAIT_S, consumer, producer

pytestmark = pytest.mark.integration


class Worker:
    """A consumer of a group that checkpoints after every event."""

    def __init__(self, hub: RunningHub, topic: str, store: BlobCheckpointStore) -> None:
        self.partitions: set[str] = set()
        self.seen: list[bytes] = []
        self.changed = threading.Condition()
        self._client = consumer(
            hub,
            topic,
            retry_total=3,
            checkpoint_store=store,
            load_balancing_interval=1.0,
            partition_ownership_expiration_interval=4.0,
        )
        self._thread = threading.Thread(target=self._client.receive, args=(self._on_event,), kwargs=self._hooks())
        self._thread.start()

    def _hooks(self) -> dict[str, Any]:
        return {
            "starting_position": "-1",
            "on_partition_initialize": lambda context: self._note(self.partitions.add, context.partition_id),
            "on_partition_close": lambda context, _: self._note(self.partitions.discard, context.partition_id),
        }

    def _note(self, change: Callable[[Any], None], value: Any) -> None:
        with self.changed:
            change(value)
            self.changed.notify_all()

    def _on_event(self, context: Any, event: EventData) -> None:
        self._note(self.seen.append, b"".join(event.body))
        context.update_checkpoint(event)

    def wait_for(self, condition: Callable[[], object]) -> bool:
        with self.changed:
            return bool(self.changed.wait_for(condition, 2 * WAIT_S))

    def close(self) -> None:
        self._client.close()
        self._thread.join(WAIT_S)


def store_on(azurite: RunningAzurite) -> BlobCheckpointStore:
    return BlobCheckpointStore.from_connection_string(
        azurite.connection_string, f"checkpoints-{uuid.uuid4().hex[:8]}"
    )


def test_two_consumers_share_the_partitions_and_one_takes_over(
    hub: RunningHub, new_topic: Callable[[int], str], azurite: RunningAzurite
) -> None:
    topic, partitions = new_topic(4), {"0", "1", "2", "3"}

    def send(name: bytes) -> set[bytes]:
        sent = {name + partition.encode() for partition in partitions}
        with producer(hub, topic) as client:
            for partition in partitions:
                client.send_batch([EventData(name + partition.encode())], partition_id=partition)
        return sent

    store = store_on(azurite)
    store._container_client.create_container()
    first = Worker(hub, topic, store)
    try:
        assert first.wait_for(lambda: first.partitions == partitions)
        second = Worker(hub, topic, store)
        try:
            assert second.wait_for(lambda: len(second.partitions) == 2)
            assert first.wait_for(lambda: len(first.partitions) == 2)
            assert first.partitions | second.partitions == partitions
            expected = send(b"a")
            assert first.wait_for(lambda: len(first.seen) >= 2)
            assert second.wait_for(lambda: len(second.seen) >= 2)
            assert set(first.seen) | set(second.seen) == expected
        finally:
            second.close()
        before = len(first.seen)
        expected = send(b"b")
        assert first.wait_for(lambda: expected <= set(first.seen))
        assert len(first.seen) == before + 4, "what was checkpointed is not read again"
    finally:
        first.close()
