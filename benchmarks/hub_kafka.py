"""What one confluent-kafka client does with a broker: produce, consume, wait for single acknowledgements."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from benchmarks.load import PARTITIONS

BULK = {
    "linger.ms": 5,
    "batch.num.messages": 10_000,
    "queue.buffering.max.messages": 1_000_000,
    "acks": "all",
    "delivery.report.only.error": True,  # a call per event would be most of what is measured
}
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Run:
    """Events, and what they took: seconds, CPU seconds of this process and of the server's."""

    events: int
    seconds: float
    cpu_s: float
    server_cpu_s: float

    @property
    def per_s(self) -> float:
        """Events per second."""
        return self.events / self.seconds

    @property
    def server_percent(self) -> float:
        """CPU of the server in percent of that of this process."""
        return 100 * self.server_cpu_s / self.cpu_s


def no_server() -> float:
    """The CPU seconds of a server that nobody looks at."""
    return 0.0


@contextmanager
def stopwatch(events: int, server_cpu_s: Callable[[], float]) -> Iterator[list[Run]]:
    """Appends the run of the block to the list it gives. `server_cpu_s` tells what the server has used so far."""
    runs: list[Run] = []
    server_begun, cpu_begun, begun = server_cpu_s(), time.process_time(), time.perf_counter()
    yield runs
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_begun
    runs.append(Run(events, seconds, cpu_s, server_cpu_s() - server_begun))


def produce(
    producer: Producer, topic: str, bodies: Sequence[bytes], server_cpu_s: Callable[[], float] = no_server
) -> Run:
    """Send all, in turn to the partitions, until all are acknowledged. RuntimeError if one is not."""
    failed: list[object] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            failed.append(error)

    with stopwatch(len(bodies), server_cpu_s) as runs:
        for number, body in enumerate(bodies):
            while True:
                try:
                    producer.produce(topic, body, partition=number % PARTITIONS, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.01)
            if number % 10_000 == 0:
                producer.poll(0)
        left = producer.flush(_PATIENCE_S)
    if left or failed:
        raise RuntimeError(f"{left} events were not acknowledged, {len(failed)} were refused")
    return runs[0]


def consume(
    bootstrap: str, topic: str, server_cpu_s: Callable[[], float] = no_server
) -> tuple[Run, list[list[bytes]]]:
    """Read all there is, without a group; the bodies of each partition. The clock runs from the first event on."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "queued.min.messages": 1_000_000,
            "fetch.message.max.bytes": 4_000_000,
            "log_level": 0,
        }
    )
    try:
        parts = [TopicPartition(topic, index, OFFSET_BEGINNING) for index in range(PARTITIONS)]
        marks = [consumer.get_watermark_offsets(part, timeout=_PATIENCE_S) for part in parts]
        expected = sum(high - low for low, high in marks)
        bodies: list[list[bytes]] = [[] for _ in parts]
        consumer.assign(parts)
        got = _take(consumer, 1, bodies)
        with stopwatch(expected - got, server_cpu_s) as runs:
            _take(consumer, expected - got, bodies)
        return runs[0], bodies
    finally:
        consumer.close()


def _take(consumer: Consumer, count: int, bodies: list[list[bytes]]) -> int:
    got = 0
    deadline = time.monotonic() + _PATIENCE_S
    while got < count:
        messages = consumer.consume(min(10_000, count - got), 1.0)
        for message in messages:
            if message.error() is not None:
                raise RuntimeError(f"reading failed: {message.error()}")
            bodies[message.partition() or 0].append(message.value() or b"")
        got += len(messages)
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {got} of {count} events came")
    return got


def ack_ms(bootstrap: str, topic: str, bodies: Sequence[bytes]) -> list[float]:
    """Milliseconds from sending each event to its acknowledgement, one after the other."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all"})
    producer.list_topics(topic, timeout=_PATIENCE_S)
    produce(producer, topic, bodies[:PARTITIONS])
    waits = []
    for number, body in enumerate(bodies[PARTITIONS:]):
        begun = time.perf_counter()
        producer.produce(topic, body, partition=number % PARTITIONS)
        if producer.flush(_PATIENCE_S):
            raise RuntimeError("an event was not acknowledged")
        waits.append((time.perf_counter() - begun) * 1e3)
    return waits


def through_ms(bootstrap: str, topic: str, bodies: Sequence[bytes]) -> list[float]:
    """Milliseconds from sending each event until a consumer that waits for it has it."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False})
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all"})
    try:
        consumer.assign([TopicPartition(topic, index, OFFSET_BEGINNING) for index in range(PARTITIONS)])
        waits = []
        for number, body in enumerate(bodies):
            begun = time.perf_counter()
            producer.produce(topic, body, partition=number % PARTITIONS)
            message = consumer.poll(_PATIENCE_S)
            if message is None or message.value() != body:
                raise RuntimeError("an event came not, or not as it was sent")
            waits.append((time.perf_counter() - begun) * 1e3)
            producer.poll(0)
        producer.flush(_PATIENCE_S)
        return waits[PARTITIONS:]
    finally:
        consumer.close()


@dataclass(frozen=True)
class Ceiling:
    """What the same client does with librdkafka's mock cluster, which lives inside it and stores little."""

    produced: Run
    consumed: Run


def ceiling(bodies: Sequence[bytes]) -> Ceiling:
    """Produce to the mock cluster, and consume what it has kept of it."""
    mock = Producer({"test.mock.num.brokers": 1, "log_level": 0, **BULK})
    broker = next(iter(mock.list_topics(timeout=_PATIENCE_S).brokers.values()))
    warm = [b""] * PARTITIONS
    produce(mock, "bench", warm)
    produced = produce(mock, "bench", bodies)
    consumed, _ = consume(f"{broker.host}:{broker.port}", "bench")
    return Ceiling(produced, consumed)


def library() -> str:
    """Name and version of the client."""
    return f"confluent-kafka {confluent_kafka.__version__}"
