"""The embedded hub: how much it takes and gives, how soon it acknowledges, what it costs, how soon it is back."""

import asyncio
import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Producer

from benchmarks import hub_amqp, hub_kafka
from benchmarks.hub_kafka import BULK, Run
from benchmarks.hub_process import HubProcess, fill, forget_marks, seconds_to_ready
from benchmarks.load import PARTITIONS
from benchmarks.report import Figure, Report, ratio
from infra.local.eventhubs.testing import RunningHub, running_hub

_GIB = 2**30
_BATCHES = (100, 4)
"""Readings per batch in the logs that are recovered: what a busy producer makes, and the tiny batches of Faust."""


def run(folder: Path, *, quick: bool = False) -> Report:
    """Measure; a twentieth of the load, once, with `quick`."""
    measured = _Measured(quick)
    with running_hub(folder / "hub", measured.topics()) as hub:
        process = HubProcess(hub)
        measured.note("idle: CPU", process.idle_percent(1.0 if quick else 10.0))
        measured.note("resident, after start", process.resident_mb())
        for repetition in range(measured.repetitions):
            measured.kafka(hub, process, repetition)
            measured.amqp(hub, process, repetition)
        measured.note("resident, after the load", process.resident_mb())
    for readings in _BATCHES:
        measured.recovery(folder / f"log-{readings}", readings)
    return Report(
        name="eventhubs",
        title="The embedded Event Hubs",
        conditions=[
            f"Readings of {len(measured.bodies[0])} bytes, {PARTITIONS} partitions, group commit (every "
            f"acknowledgement follows a flush), one client process on the same {os.cpu_count()} cores.",
            f"Kafka: {hub_kafka.library()}, {len(measured.bodies):,} readings, linger 5 ms, acks=all; latencies with "
            f"one event at a time, {measured.singles:,} of them.",
            f"AMQP: {hub_amqp.library()}, sync; batches of 1,000, of which making them is part; single events by "
            "send_event. Server CPU is in percent of the client's CPU in the same time, kernel included.",
            "The peer is librdkafka's mock cluster: it runs inside the client, in memory, keeps 5 MB per partition "
            "and flushes nothing. It shows what the client itself can do; the ratio is the hub over the mock.",
            "Recovery: from the start of the process to its line 'ready', with a warm page cache; with marks every "
            "byte is checksummed, without them every batch is read.",
            "All bodies received were compared with those sent, by partition and in order.",
        ],
        figures=measured.figures(),
        failures=measured.failures,
    )


_TARGETS: dict[str, tuple[str, float | None, float | None]] = {
    # name: unit, at least, at most
    "Kafka produce": ("readings/s", 300_000, None),
    "Kafka consume": ("readings/s", 600_000, None),
    "Kafka produce, server CPU": ("% of client", None, None),
    "Kafka consume, server CPU": ("% of client", None, None),
    "mock produce": ("readings/s", None, None),
    "mock consume": ("readings/s", None, None),
    "acknowledgement, p50": ("ms", None, None),
    "acknowledgement, p99": ("ms", None, 20),
    "produce to consume, p50": ("ms", None, None),
    "produce to consume, p99": ("ms", None, None),
    "AMQP send_batch": ("readings/s", None, None),
    "AMQP send_batch, server CPU": ("% of client", None, 15),
    "AMQP send_event": ("readings/s", None, None),
    "AMQP send_event, server CPU": ("% of client", None, 15),
    "AMQP receive_batch": ("readings/s", None, None),
    "AMQP receive_batch, server CPU": ("% of client", None, 15),
    "idle: CPU": ("% of a core", None, 1),
    "resident, after start": ("MB", None, 80),
    "resident, after the load": ("MB", None, 80),
    **{
        f"recovery of {size}, batches of {readings}, {how} marks": ("s", None, 2)
        for size in ("1 GiB", "51 MiB")
        for readings in _BATCHES
        for how in ("with", "without")
    },
}


@dataclass
class _Measured:
    """Values by name, and what did not agree."""

    quick: bool
    values: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.repetitions = 1 if self.quick else 3
        self.singles = 200 if self.quick else 2000
        self.bodies = [_body(number) for number in range(50_000 if self.quick else 1_000_000)]
        self.amqp_bodies = self.bodies[: 4_000 if self.quick else 40_000]

    def topics(self) -> dict[str, int]:
        """A topic for each thing and repetition."""
        names = ("bulk", "acks", "through", "batches", "singles")
        return {f"{name}-{number}": PARTITIONS for name in names for number in range(self.repetitions)}

    def note(self, name: str, value: float) -> None:
        """Keep a value."""
        self.values.setdefault(name, []).append(value)

    def kafka(self, hub: RunningHub, process: HubProcess, repetition: int) -> None:
        """All that concerns Kafka, once."""
        peer = hub_kafka.ceiling(self.bodies)
        self.note("mock produce", peer.produced.per_s)
        self.note("mock consume", peer.consumed.per_s)
        topic = f"bulk-{repetition}"
        producer = Producer({"bootstrap.servers": hub.bootstrap, "log_level": 0, **BULK})
        producer.list_topics(topic, timeout=10)
        produced = hub_kafka.produce(producer, topic, self.bodies, process.cpu_s)
        self._note_run("Kafka produce", produced)
        consumed, found = hub_kafka.consume(hub.bootstrap, topic, process.cpu_s)
        self._note_run("Kafka consume", consumed)
        self._compare("Kafka", found, [self.bodies[index::PARTITIONS] for index in range(PARTITIONS)])
        waits = hub_kafka.ack_ms(hub.bootstrap, f"acks-{repetition}", self.bodies[: self.singles])
        self._note_times("acknowledgement", waits)
        waits = hub_kafka.through_ms(hub.bootstrap, f"through-{repetition}", self.bodies[: self.singles])
        self._note_times("produce to consume", waits)

    def amqp(self, hub: RunningHub, process: HubProcess, repetition: int) -> None:
        """All that concerns AMQP, once."""
        connection, bodies = hub.connection_string, self.amqp_bodies
        batches, singles = f"batches-{repetition}", f"singles-{repetition}"
        sent = hub_amqp.send_batches(connection, batches, bodies, process.cpu_s)
        self._note_run("AMQP send_batch", sent)
        sent = hub_amqp.send_singly(connection, singles, bodies[: self.singles], process.cpu_s)
        self._note_run("AMQP send_event", sent)
        # Opening the links has sent an empty event to each partition.
        received, found = hub_amqp.receive(connection, batches, len(bodies) + PARTITIONS, process.cpu_s)
        self._note_run("AMQP receive_batch", received)
        expected: list[list[bytes]] = [[b""] for _ in range(PARTITIONS)]
        for start in range(0, len(bodies), hub_amqp.BATCH):
            expected[start // hub_amqp.BATCH % PARTITIONS] += bodies[start : start + hub_amqp.BATCH]
        self._compare("AMQP", found, expected)
        _, found = hub_kafka.consume(hub.bootstrap, singles)
        self._compare(
            "AMQP to Kafka", found, [[b"", *bodies[i : self.singles : PARTITIONS]] for i in range(PARTITIONS)]
        )

    def recovery(self, data_dir: Path, readings: int) -> None:
        """Starts on a log of such batches."""
        size = _GIB // 20 if self.quick else _GIB
        asyncio.run(fill(data_dir, "readings", size, self.bodies[:readings]))
        name = f"recovery of {'51 MiB' if self.quick else '1 GiB'}, batches of {readings}"
        for _ in range(self.repetitions):
            self.note(f"{name}, with marks", seconds_to_ready(data_dir))
        for _ in range(self.repetitions):
            forget_marks(data_dir)
            self.note(f"{name}, without marks", seconds_to_ready(data_dir))

    def _note_run(self, name: str, run: Run) -> None:
        self.note(name, run.per_s)
        self.note(f"{name}, server CPU", run.server_percent)

    def _note_times(self, name: str, milliseconds: list[float]) -> None:
        hundredths = statistics.quantiles(milliseconds, n=100)
        self.note(f"{name}, p50", hundredths[49])
        self.note(f"{name}, p99", hundredths[98])

    def _compare(self, who: str, found: list[list[bytes]], expected: list[list[bytes]]) -> None:
        if found != expected:
            counts = f"{sum(map(len, found))} of {sum(map(len, expected))}"
            self.failures.append(f"{who}: what was received ({counts}) is not what was sent")

    def figures(self) -> list[Figure]:
        """All values with their targets, and the ratios to the peer."""
        figures = []
        for name, (unit, at_least, at_most) in _TARGETS.items():
            if name in self.values:
                values = self.values[name]
                figures.append(Figure(name=name, unit=unit, values=values, at_least=at_least, at_most=at_most))
        figures += [
            Figure(
                name=f"{what} over mock",
                unit="",
                values=ratio(self.values[f"Kafka {what}"], self.values[f"mock {what}"]),
            )
            for what in ("produce", "consume")
        ]
        return figures


def _body(number: int) -> bytes:
    """A reading of 80 bytes, different from all others."""
    return b'{"device":"device-%06d","sensor":"s1","ts":1700000040.25,"value":%08d.123}' % (number % 1000, number)
