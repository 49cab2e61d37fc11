"""Windows as Faust's guide writes them: a Record, a tumbling Table in event time, one update per event.

The memory store, so no RocksDB is needed; a changelog topic all the same, as every Table has.
"""

import logging
import os
import sys
import tempfile
import time
from typing import Any

import faust

from benchmarks.load import PARTITIONS, WINDOW_US
from benchmarks.peers.outcome import Outcome, Row, report


class Reading(faust.Record, serializer="json"):  # type: ignore[misc,call-arg]  # faust has no type stubs
    """One event."""

    device: str
    sensor: str
    ts: float
    value: float


def main(bootstrap: str, hub: str, events: int) -> None:
    """Consume `events` events, report and end the process."""
    app = faust.App(
        f"naive-{hub}-{os.getpid()}",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=tempfile.mkdtemp(prefix="naive-faust-"),
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        autodiscover=False,
        worker_redirect_stdouts=False,
    )
    readings = app.topic(hub, value_type=Reading)
    table = app.Table("windows", default=lambda: (0, 0.0, float("inf"), float("-inf")), partitions=PARTITIONS)
    windows = table.tumbling(WINDOW_US / 1e6).relative_to_field(Reading.ts)
    seen, begun, cpu = 0, 0.0, 0.0

    @app.agent(readings)  # type: ignore[untyped-decorator]  # faust has no type stubs
    async def reduce(stream: Any) -> None:
        nonlocal seen, begun, cpu
        async for reading in stream:
            if not begun:
                begun, cpu = time.monotonic(), time.process_time()
            key = (reading.device, reading.sensor)
            count, total, low, high = windows[key].value()
            windows[key] = (
                count + 1,
                total + reading.value,
                min(low, reading.value),
                max(high, reading.value),
            )
            seen += 1
            if seen == events:
                spent = (time.monotonic() - begun, time.process_time() - cpu)
                report(Outcome(*spent, [_row(*item) for item in table.data.items()]))
                os._exit(0)

    worker = faust.Worker(app, loglevel="WARN", redirect_stdouts=False, logfile=None)
    logging.getLogger("faust").setLevel(logging.WARNING)
    worker.execute_from_commandline()


def _row(key: Any, value: Any) -> Row:
    (device, sensor), (start, _) = key
    count, total, low, high = value
    return Row(device, sensor, round(start * 1e6), count, total / count, low, high)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
