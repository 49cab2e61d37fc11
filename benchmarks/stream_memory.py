"""Memory of a stream worker that holds 200,000 open windows of 60 readings, and what its checkpoints cost."""

import time
from pathlib import Path

import psutil

from benchmarks.load import PARTITIONS, Load, preload
from benchmarks.report import Figure, Report
from benchmarks.worker import StreamWorker, stream_worker
from infra.local.eventhubs.testing import running_hub

_TICKS_PER_EVENT = 20
_STEADY_S = 30.0


def run(folder: Path, *, quick: bool = False) -> Report:
    """Measure once: 12 million readings (a twentieth with `quick`)."""
    load = Load(devices=2_000 if quick else 40_000, sensors=5, ticks=60, step_us=1_000_000)
    failures: list[str] = []
    with running_hub(folder / "hub", {"readings": PARTITIONS}) as hub:
        events = preload(hub.bootstrap, "readings", load.packed_events(_TICKS_PER_EVENT))
        with stream_worker(folder / "worker", hub.bootstrap, "readings", idle_after_s=86_400) as worker:
            first, last, peak = _catch_up(worker, events)
            held = last["totals"]["open_readings"]
            steady = _steady(worker, 2.0 if quick else _STEADY_S)
        if held != load.readings or last["totals"]["windows"]:
            failures.append(f"{held:,} readings in open windows instead of {load.readings:,}")
    seconds = last["at"] - first["at"]
    spent = {
        what: (_sum(last, what) - _sum(first, what)) / 1000 / PARTITIONS / seconds
        for what in ("checkpoint_ms", "archive_ms")
    }
    return Report(
        name="stream_memory",
        title="Stream worker with many open windows",
        conditions=[
            f"{load.windows:,} open windows of {load.ticks} readings: {load.readings:,} readings of "
            f"{load.devices:,} devices x {load.sensors} sensors, {_TICKS_PER_EVENT * load.sensors} per event, "
            f"{PARTITIONS} partitions.",
            "Peak: the largest resident size seen while the backlog is read, every 50 ms; steady: the median of the "
            f"following {_STEADY_S:g} s, in which nothing arrives.",
            "Share of checkpoints: seconds that the partitions spent storing their state, per partition, of the time "
            "in which the backlog was read; the archive of raw readings is another step and counted apart.",
        ],
        figures=[
            Figure(name="resident, peak", unit="MB", values=[peak / 1e6], at_most=400),
            Figure(name="resident, steady", unit="MB", values=[steady / 1e6], at_most=400),
            Figure(name="share of checkpoints", unit="%", values=[100 * spent["checkpoint_ms"]], at_most=5),
            Figure(name="share of the archive", unit="%", values=[100 * spent["archive_ms"]]),
            Figure(name="catching up", unit="readings/s", values=[held / seconds]),
        ],
        failures=failures,
    )


def _catch_up(worker: StreamWorker, events: int) -> tuple[dict, dict, int]:  # type: ignore[type-arg]  # JSON
    """The first status page with progress and the first with all events, each with its time; the largest RSS."""
    first, peak = None, 0
    process = psutil.Process(worker.process.pid)
    for at, page in worker.watch():
        peak = max(peak, process.memory_info().rss)
        page["at"] = at
        if first is None and page["totals"]["events"]:
            first = page
        if first is not None and page["totals"]["events"] >= events:
            return first, page, peak
    raise AssertionError("watch ends with an error")


def _steady(worker: StreamWorker, seconds: float) -> int:
    """Median RSS of the next `seconds`."""
    process, seen = psutil.Process(worker.process.pid), []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen.append(process.memory_info().rss)
        time.sleep(0.1)
    return int(sorted(seen)[len(seen) // 2])


def _sum(page: dict, name: str) -> float:  # type: ignore[type-arg]  # JSON
    return sum(float(partition[name]) for partition in page["partitions"].values())
