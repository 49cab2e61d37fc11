"""Readings per second into event-time windows: naive Faust, raw aiokafka with NumPy, and Penstock.

All read the same log of one hub. The clock of each runs from its first fetched records to its last window: start-up
is excluded. Penstock is the worker as deployed: Faust app, window batches, raw archive and checkpoints on Azurite.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.load import PARTITIONS, Load, WindowStats, differences, preload
from benchmarks.peers.outcome import Outcome, run_peer
from benchmarks.report import Figure, Report, ratio
from benchmarks.worker import SPEC, stream_worker
from infra.local.eventhubs.testing import running_hub
from stream.config import StreamConfig
from stream.decode import Chunk
from stream.partition import Partition
from tests.fakes import FakeBlobs, FakeClock, FakeQueue

TICKS_PER_EVENT = 20
DEVICES, SENSORS = 200, 5
_FAUST_DEVICES = 6
_CHUNK_EVENTS = {"single": 5000, "packed": 100}


def run(folder: Path, *, quick: bool = False) -> Report:
    """Measure and compare; one repetition of a tenth of the readings with `quick`."""
    repetitions = 1 if quick else 3
    step_us = 1_000_000 if quick else 90_000
    ticks = {"single": 240, "packed": 240} if quick else {"single": 4000, "packed": 6000}
    loads = {topic: Load(DEVICES, SENSORS, number, step_us) for topic, number in ticks.items()}
    small = Load(devices=_FAUST_DEVICES, sensors=SENSORS, ticks=240 if quick else 1440)
    figures: list[Figure] = []
    failures: list[str] = []
    with running_hub(folder / "hub", {"single": PARTITIONS, "packed": PARTITIONS, "few": PARTITIONS}) as hub:
        few = preload(hub.bootstrap, "few", small.single_events())
        logs = {
            "single": list(loads["single"].single_events()),
            "packed": list(loads["packed"].packed_events(TICKS_PER_EVENT)),
        }
        bytes_per = {topic: sum(len(body) for _, body in log) / len(log) for topic, log in logs.items()}
        for topic, log in logs.items():
            load = loads[topic]
            events = preload(hub.bootstrap, topic, log) + preload(hub.bootstrap, topic, load.flushes())
            contest = _Contest(hub.bootstrap, topic, events, load, folder, failures)
            rates = contest.repeat(repetitions, few if topic == "single" else 0, small)
            rates["alone"] = [_alone(topic, [*log, *load.flushes()], load, failures) for _ in range(repetitions)]
            figures += _figures(topic, rates)
    return Report(
        name="windowing",
        title="Windowing: readings per second",
        conditions=[
            f"{DEVICES} devices x {SENSORS} sensors, tumbling windows of 60 s in event time, {PARTITIONS} "
            "partitions of the embedded hub, a backlog.",
            *(
                f"{topic.capitalize()}: {loads[topic].readings:,} readings in {loads[topic].windows:,} windows, "
                f"{per_event} per event, {bytes_per[topic]:,.0f} B of JSON."
                for topic, per_event in (("single", 1), ("packed", TICKS_PER_EVENT * SENSORS))
            ),
            f"Naive Faust (Record, Table.tumbling with relative_to_field, memory store, changelog) is slow: it gets "
            f"{small.readings:,} readings of {small.devices} of the devices, single events only.",
            "Raw aiokafka + NumPy keeps count, sum, minimum and maximum. Penstock computes eight features with "
            "median and slope, leaves out duplicates and late readings, stores batches, raw archive and checkpoints.",
            "Penstock's rate is counted between two looks at its status page: from the first that shows progress to "
            "the first that shows all windows written. 'Partition alone' is its compute without Faust and storage.",
            "Count, mean, minimum and maximum of all windows were compared with those of the generated values.",
        ],
        figures=figures,
        failures=failures,
    )


@dataclass(frozen=True)
class _Rate:
    """Readings per second, and CPU microseconds of the contestant's process per reading."""

    per_s: float
    cpu_us: float

    @classmethod
    def of(cls, readings: float, seconds: float, cpu_s: float) -> "_Rate":
        """From totals."""
        return cls(readings / seconds, cpu_s / readings * 1e6)


class _Contest:
    """All contestants in turn on one topic."""

    def __init__(
        self, bootstrap: str, topic: str, events: int, load: Load, folder: Path, failures: list[str]
    ) -> None:
        self._bootstrap, self._topic, self._events, self._load = bootstrap, topic, events, load
        self._folder, self._failures, self._number = folder, failures, count()
        self._expected = load.expected()

    def repeat(self, times: int, faust_events: int, small: Load) -> "dict[str, list[_Rate]]":
        """Rates per contestant; the naive one only where it gets events."""
        rates: dict[str, list[_Rate]] = {"raw": [], "penstock": [], "naive": []}
        for _ in range(times):
            rates["raw"].append(self._raw())
            rates["penstock"].append(self._penstock())
            if faust_events:
                outcome = run_peer("naive_faust", self._bootstrap, "few", str(faust_events))
                self._compare("naive Faust", outcome.stats(), small.expected())
                rates["naive"].append(_Rate.of(small.readings, outcome.seconds, outcome.cpu_seconds))
        return rates

    def _raw(self) -> "_Rate":
        outcome: Outcome = run_peer("aiokafka_numpy", self._bootstrap, self._topic, str(self._events), self._topic)
        self._compare("raw aiokafka", outcome.stats(), self._expected)
        return _Rate.of(self._load.readings, outcome.seconds, outcome.cpu_seconds)

    def _penstock(self) -> "_Rate":
        folder = self._folder / f"{self._topic}-{next(self._number)}"
        with stream_worker(folder, self._bootstrap, self._topic) as worker:
            first: tuple[float, float, float] | None = None
            for at, page in worker.watch(poll_s=0.1):
                totals = page["totals"]
                if totals["events"] and first is None:
                    first = (at, totals["readings"], worker.cpu_s())
                if totals["events"] >= self._events and totals["windows"] >= self._load.windows:
                    break
            cpu_s = worker.cpu_s()
            self._compare("Penstock", worker.windows(), self._expected)
        if first is None or first[1] > self._load.readings / 2:
            raise RuntimeError("the backlog is too short to be measured through the status page")
        return _Rate.of(self._load.readings - first[1], at - first[0], cpu_s - first[2])

    def _compare(self, who: str, found: WindowStats, expected: WindowStats) -> None:
        self._failures += [f"{who}, {self._topic} events: {what}" for what in differences(found, expected)]


def _alone(topic: str, log: list[tuple[int, bytes]], load: Load, failures: list[str]) -> _Rate:
    """Rate of the compute of all partitions one after the other, batches encoded and kept in memory."""
    elapsed, cpu_s, windows = 0.0, 0.0, 0
    for number in range(PARTITIONS):
        bodies = [body for device, body in log if device % PARTITIONS == number]
        partition = Partition(StreamConfig(topic, SPEC), number, FakeBlobs(), FakeQueue(), FakeClock())
        partition.restore()
        begun, cpu_begun = time.perf_counter(), time.process_time()
        for chunk in _chunks(bodies, _CHUNK_EVENTS[topic]):
            partition.process(chunk)
            if partition.hand_over_due():
                partition.hand_over()
        partition.hand_over()
        elapsed += time.perf_counter() - begun
        cpu_s += time.process_time() - cpu_begun
        windows += partition.counters.windows
    if windows != load.windows:
        failures.append(f"Partition alone, {topic} events: {windows} windows instead of {load.windows}")
    return _Rate.of(load.readings, elapsed, cpu_s)


def _chunks(bodies: list[bytes], size: int) -> Iterator[Chunk]:
    now_us = time.time_ns() // 1000
    for start in range(0, len(bodies), size):
        part = bodies[start : start + size]
        offset = np.arange(start, start + len(part), dtype=np.int64)
        yield Chunk(offset, np.full(len(part), now_us), part)


_NAMES = {
    "naive": "naive Faust",
    "raw": "raw aiokafka + NumPy",
    "penstock": "Penstock",
    "alone": "Partition alone",
}


def _figures(topic: str, rates: dict[str, list[_Rate]]) -> list[Figure]:
    def speeds(who: str) -> list[float]:
        return [rate.per_s for rate in rates[who]]

    contestants = [who for who in _NAMES if rates[who]]
    figures = [Figure(name=f"{topic}: {_NAMES[who]}", unit="readings/s", values=speeds(who)) for who in contestants]
    for peer, at_least in (("naive", 50.0), ("raw", 0.6)):
        if peer in contestants:
            values = ratio(speeds("penstock"), speeds(peer))
            figures.append(
                Figure(name=f"{topic}: Penstock over {_NAMES[peer]}", unit="", values=values, at_least=at_least)
            )
    figures += [
        Figure(name=f"{topic}: {_NAMES[who]}, CPU", unit="us/reading", values=[rate.cpu_us for rate in rates[who]])
        for who in contestants
    ]
    return figures
