"""The readings that all contestants get: who sent them, as which events, and what their windows must be."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import confluent_kafka
import numpy as np
import numpy.typing as npt

from infra.feed.events import encode_event, encode_flush

Float64 = npt.NDArray[np.float64]
WINDOW_US = 60_000_000
START_US = 1_700_000_040_000_000
PARTITIONS = 4
WindowStats = dict[tuple[str, str, int], tuple[int, float, float, float]]
"""By device, sensor and start (epoch microseconds): count, mean, minimum, maximum."""


@dataclass(frozen=True)
class Load:
    """`ticks` readings of each of `sensors` sensors on `devices` devices, in time order, `step_us` apart."""

    devices: int
    sensors: int
    ticks: int
    step_us: int = 250_000

    @property
    def readings(self) -> int:
        """All of them."""
        return self.devices * self.sensors * self.ticks

    @property
    def windows(self) -> int:
        """Windows of one minute that they fall into."""
        return self.devices * self.sensors * -(-self.ticks * self.step_us // WINDOW_US)

    def device(self, number: int) -> str:
        """Name of a device."""
        return f"device-{number:06d}"

    def values(self, device: int) -> Float64:
        """(ticks, sensors) of one device; the same in every process."""
        return np.round(np.random.default_rng(device).normal(20.0, 3.0, (self.ticks, self.sensors)), 3)

    def single_events(self) -> Iterator[tuple[int, bytes]]:
        """(device number, body) of one reading each, in time order."""
        values = np.stack([self.values(device) for device in range(self.devices)], axis=1)
        names = [self.device(device) for device in range(self.devices)]
        for tick in range(self.ticks):
            ts = (START_US + tick * self.step_us) / 1e6
            for device, row in enumerate(values[tick].tolist()):
                for sensor, value in enumerate(row):
                    yield (
                        device,
                        b'{"device":"%s","sensor":"s%d","ts":%s,"value":%s}'
                        % (names[device].encode(), sensor, repr(ts).encode(), repr(value).encode()),
                    )

    def packed_events(self, ticks_per_event: int) -> Iterator[tuple[int, bytes]]:
        """(device number, body) of `ticks_per_event` ticks of all sensors each, in time order."""
        sensors = [f"s{number}" for number in range(self.sensors)]
        values = [self.values(device) for device in range(self.devices)]
        for first in range(0, self.ticks, ticks_per_event):
            ticks = np.arange(first, min(first + ticks_per_event, self.ticks))
            ts_us = np.repeat(START_US + ticks * self.step_us, self.sensors)
            for device in range(self.devices):
                block = values[device][ticks[0] : ticks[-1] + 1].ravel()
                yield device, encode_event(self.device(device), sensors * len(ticks), ts_us, block)

    def flushes(self) -> Iterator[tuple[int, bytes]]:
        """A flush marker per device."""
        for device in range(self.devices):
            yield device, encode_flush(self.device(device))

    def expected(self) -> WindowStats:
        """The windows, computed from the values themselves."""
        found: WindowStats = {}
        start = (START_US + np.arange(self.ticks) * self.step_us) // WINDOW_US * WINDOW_US
        cuts = np.flatnonzero(np.diff(start, prepend=-1))
        for device in range(self.devices):
            for first, part in zip(cuts.tolist(), np.split(self.values(device), cuts[1:]), strict=True):
                for sensor, column in enumerate(part.T):
                    key = (self.device(device), f"s{sensor}", int(start[first]))
                    found[key] = (len(column), float(column.mean()), float(column.min()), float(column.max()))
        return found


def preload(bootstrap: str, hub: str, events: Iterable[tuple[int, bytes]]) -> int:
    """Put events into the hub, each device on one partition; how many there were. Returns when all are stored."""
    failed: list[str] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            failed.append(str(error))

    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 20,
            "batch.num.messages": 10_000,
            "batch.size": 900_000,
            "queue.buffering.max.messages": 1_000_000,
            "enable.idempotence": True,
        }
    )
    sent = 0
    for device, body in events:
        while True:
            try:
                producer.produce(hub, body, partition=device % PARTITIONS, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
        sent += 1
        if sent % 1000 == 0:
            producer.poll(0)
    producer.flush()
    if failed:
        raise RuntimeError(f"{len(failed)} events were not stored, the first: {failed[0]}")
    return sent


def differences(found: WindowStats, expected: WindowStats) -> list[str]:
    """What is wrong with `found`, in a sentence each; nothing if all windows agree to 1e-9 of their values."""
    wrong = []
    if found.keys() != expected.keys():
        missing, extra = len(expected.keys() - found.keys()), len(found.keys() - expected.keys())
        wrong.append(f"{missing} windows are missing and {extra} are not expected, of {len(expected)}")
    keys = sorted(found.keys() & expected.keys())
    ours = np.array([found[key] for key in keys])
    theirs = np.array([expected[key] for key in keys])
    if keys and not np.allclose(ours, theirs, rtol=1e-9, atol=0):
        bad = int((~np.isclose(ours, theirs, rtol=1e-9, atol=0)).any(axis=1).sum())
        wrong.append(f"{bad} of {len(keys)} windows differ in count, mean, minimum or maximum")
    return wrong
