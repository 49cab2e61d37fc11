"""Raw aiokafka, msgspec and NumPy: about the least that event-time windows in Python cost.

`getmany` of all partitions, one JSON decode per poll (payloads joined to one array), dense accumulators of count,
sum, minimum and maximum per (series, window), open until the end. No bad input, lateness, replay or output.
"""

import asyncio
import sys
import time

import aiokafka
import msgspec
import numpy as np

from benchmarks.load import PARTITIONS, WINDOW_US
from benchmarks.peers.outcome import Outcome, Row, report


class _Reading(msgspec.Struct, gc=False):
    device: str
    sensor: str
    ts: float
    value: float


_decode = msgspec.json.Decoder(list[_Reading]).decode
_MAX_WINDOWS = 64


class Accumulators:
    """Count, sum, minimum and maximum by series and window, in arrays that grow by doubling."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, str], int] = {}
        self.first_window = -1
        self.count = np.empty((0, _MAX_WINDOWS), np.int64)
        self.sum = self.low = self.high = np.empty((0, _MAX_WINDOWS))
        self._grow(1024)

    def _grow(self, extra: int) -> None:
        shape = (extra, _MAX_WINDOWS)
        self.count = np.concatenate((self.count, np.zeros(shape, np.int64)))
        self.sum = np.concatenate((self.sum, np.zeros(shape)))
        self.low = np.concatenate((self.low, np.full(shape, np.inf)))
        self.high = np.concatenate((self.high, np.full(shape, -np.inf)))

    def add(self, readings: list[_Reading]) -> None:
        """Take in the readings of one poll."""
        known, n = self.series, len(readings)
        ids = [known.setdefault((r.device, r.sensor), len(known)) for r in readings]
        while len(known) > len(self.count):
            self._grow(len(self.count))
        ts_us = np.rint(np.fromiter((r.ts for r in readings), np.float64, n) * 1e6).astype(np.int64)
        value = np.fromiter((r.value for r in readings), np.float64, n)
        window = ts_us // WINDOW_US
        if self.first_window < 0:
            self.first_window = int(window.min())
        at = np.array(ids) * _MAX_WINDOWS + (window - self.first_window)
        np.add.at(self.count.reshape(-1), at, 1)
        np.add.at(self.sum.reshape(-1), at, value)
        np.minimum.at(self.low.reshape(-1), at, value)
        np.maximum.at(self.high.reshape(-1), at, value)

    def rows(self) -> list[Row]:
        """All windows."""
        names = list(self.series)
        series, window = np.nonzero(self.count)
        used = self.count > 0
        count, low, high = self.count[used], self.low[used], self.high[used]
        columns = (series, (window + self.first_window) * WINDOW_US, count, self.sum[used] / count, low, high)
        return [Row(*names[s], *rest) for s, *rest in zip(*(column.tolist() for column in columns), strict=True)]


def _readings(bodies: list[bytes], packed: bool) -> list[_Reading]:
    """All readings of a batch at once: joined, bodies with one reading or an array of them are one array."""
    try:
        return _decode(b"[" + b",".join([body[1:-1] for body in bodies] if packed else bodies) + b"]")
    except msgspec.ValidationError:  # flush markers, which mean nothing here, stand at the log's end
        rest = [body for body in bodies if b'"flush"' not in body]
        return _readings(rest, packed) if len(rest) < len(bodies) else _decode(bodies[0])


async def _run(bootstrap: str, hub: str, events: int, packed: bool) -> Outcome:
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=1_048_576,
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    try:
        consumer.assign([aiokafka.TopicPartition(hub, partition) for partition in range(PARTITIONS)])
        windows, seen, begun, cpu = Accumulators(), 0, 0.0, 0.0
        while seen < events:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=20_000)
            if fetched and not begun:
                begun, cpu = time.monotonic(), time.process_time()
            for batch in fetched.values():
                seen += len(batch)
                windows.add(_readings([record.value for record in batch], packed))
        rows = windows.rows()
        return Outcome(time.monotonic() - begun, time.process_time() - cpu, rows)
    finally:
        await consumer.stop()


if __name__ == "__main__":
    report(asyncio.run(_run(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "packed")))
