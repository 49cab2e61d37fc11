"""What one client of the Event Hubs SDK does with the hub: send batches, send single events, receive."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient

from benchmarks.hub_kafka import Run, stopwatch
from benchmarks.load import PARTITIONS

BATCH = 1000
_PATIENCE_S = 60.0


@contextmanager
def _producer(connection: str, hub: str) -> Iterator[EventHubProducerClient]:
    """A client whose links to all partitions are open."""
    logging.getLogger("azure").setLevel(logging.ERROR)
    client = EventHubProducerClient.from_connection_string(connection, eventhub_name=hub)
    with client:
        for partition in range(PARTITIONS):
            client.send_event(EventData(b""), partition_id=str(partition))
        yield client


def send_batches(connection: str, hub: str, bodies: Sequence[bytes], server_cpu_s: Callable[[], float]) -> Run:
    """Send all in batches of 1,000, in turn to the partitions; making the batches is part of it."""
    with _producer(connection, hub) as client, stopwatch(len(bodies), server_cpu_s) as runs:
        for number in range(0, len(bodies), BATCH):
            batch = client.create_batch(partition_id=str(number // BATCH % PARTITIONS))
            for body in bodies[number : number + BATCH]:
                batch.add(EventData(body))
            client.send_batch(batch)
    return runs[0]


def send_singly(connection: str, hub: str, bodies: Sequence[bytes], server_cpu_s: Callable[[], float]) -> Run:
    """Send each with a call of its own, in turn to the partitions."""
    with _producer(connection, hub) as client, stopwatch(len(bodies), server_cpu_s) as runs:
        for number, body in enumerate(bodies):
            client.send_event(EventData(body), partition_id=str(number % PARTITIONS))
    return runs[0]


def receive(
    connection: str, hub: str, count: int, server_cpu_s: Callable[[], float]
) -> tuple[Run, list[list[bytes]]]:
    """Read `count` events in batches, a thread per partition; the clock runs from the first event of all on."""
    bodies: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    first, last = threading.Event(), threading.Event()
    client = EventHubConsumerClient.from_connection_string(connection, "$Default", eventhub_name=hub)

    def take(partition: Any, events: list[EventData]) -> None:
        bodies[int(partition.partition_id)].extend(b"".join(event.body) for event in events)
        first.set()
        if sum(map(len, bodies)) >= count:
            last.set()

    def run(partition: int) -> None:
        with contextlib.suppress(Exception):  # closing the client ends its calls with one
            client.receive_batch(take, partition_id=str(partition), starting_position="-1", max_batch_size=1000)

    threads = [threading.Thread(target=run, args=(each,)) for each in range(PARTITIONS)]
    for thread in threads:
        thread.start()
    try:
        if not first.wait(_PATIENCE_S):
            raise RuntimeError("no event came")
        seen = sum(map(len, bodies))
        with stopwatch(count - seen, server_cpu_s) as runs:
            if not last.wait(_PATIENCE_S):
                raise RuntimeError(f"only {sum(map(len, bodies))} of {count} events came")
        return runs[0], bodies
    finally:
        client.close()
        for thread in threads:
            thread.join()


def library() -> str:
    """Name and version of the client."""
    return f"azure-eventhub {version('azure-eventhub')}"
