"""The whole local runtime: does it keep up at 50,000 readings/s, and how soon does an alert show at 5,000?

All parts run as `penstock up` runs them, on a data folder of their own, with a registered model of every series.
Three phases: a backlog that lies in the hub before the stream starts, the offered load in real time, and alerts.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.fleet_load import (
    EVENT_US,
    SENSORS,
    device_name,
    events_between,
    fault_of,
    readings_per_s,
    register_models,
    windows_between,
)
from benchmarks.load import PARTITIONS, preload
from benchmarks.offer import Sent, offer
from benchmarks.pipeline import Look, Pipeline
from benchmarks.report import Figure, Report
from infra.azure.blobs import AzureBlobs
from infra.cli.launch import install_azurite, launch
from infra.feed.events import encode_flush
from infra.local.azurite import running_azurite
from infra.local.eventhubs.testing import running_hub
from infra.local.home import Home
from infra.local.parts import HUB
from infra.local.runtime_ports import RuntimePorts
from infra.settings import Settings
from infra.simulation import Fault, FaultKind

_SPEC = Settings().spec
_MINUTE_US = _SPEC.size_us
_LATENESS_US = round(Settings().allowed_lateness_s * 1e6)
_SETTLE_US = 5_000_000
_POLL_S = 0.05


@dataclass(frozen=True)
class _Plan:
    """How much of everything."""

    devices: int = 10_000
    backlog_s: int = 120
    offered_s: int = 75
    alert_devices: int = 1_000
    alert_minutes: int = 2
    faults_per_minute: int = 80


@dataclass(frozen=True)
class _Offered:
    """What the phase of offered load gave."""

    sent: Sent
    looks: list[Look]
    windows: int
    steady: tuple[float, float]
    """From when to when the full rate is offered, on the monotonic clock."""


_QUICK = _Plan(devices=500, backlog_s=60, offered_s=30, alert_devices=50, alert_minutes=1, faults_per_minute=20)


def run(folder: Path, *, quick: bool = False) -> Report:
    """Measure once: it takes some six minutes."""
    plan, home = _QUICK if quick else _Plan(), Home(folder / "home")
    install_azurite()
    backlog_end_us = _next_minute_us() - 2 * _MINUTE_US
    backlog_us = (backlog_end_us - plan.backlog_s * 1_000_000, backlog_end_us)
    events = _prepare(home, plan.devices, backlog_us)
    windows = windows_between(plan.devices, *backlog_us, _SPEC)
    with _runtime(home) as pipeline:
        backlog = pipeline.wait(events=events, windows=windows)
        offered = asyncio.run(_offered(pipeline, plan, backlog[-1]))
        windows += offered.windows
        scored = pipeline.scored().scored
        latencies = asyncio.run(_alert_latencies(pipeline, plan))
    failures = [] if scored == windows else [f"{scored} of {windows} windows were scored"]
    return Report(
        name="end_to_end",
        title="End to end: from the hub to stored predictions and alerts",
        conditions=[
            f"The whole local runtime. Events of 100 readings ({SENSORS} sensors once a second, 20 s); a One-Class "
            f"SVM for each of {plan.devices * SENSORS:,} series; windows of 60 s.",
            f"Backlog: {readings_per_s(plan.devices) * plan.backlog_s:,} readings lie in the hub before the start; "
            "from the first progress until the last prediction is stored and folded into alerts.",
            f"Offered: {plan.devices:,} devices, {readings_per_s(plan.devices):,} readings/s for {plan.offered_s} s "
            f"in real time, then flushed. Rate and lag, read from the stream's status page, are those of the time "
            f"after the first {EVENT_US // 1_000_000} s and before the last second; all windows must be scored.",
            f"Alerts: {plan.alert_devices:,} devices, {readings_per_s(plan.alert_devices):,} readings/s; from the "
            "moment the event that passes a window's watermark is sent until the state store shows the alert, "
            f"looked for every {_POLL_S * 1000:.0f} ms.",
            "The load generator runs on the same cores.",
        ],
        figures=[*_throughput(plan, backlog, offered), *_latency(latencies)],
        failures=failures,
    )


def _prepare(home: Home, devices: int, backlog_us: tuple[int, int]) -> int:
    """Models in the storage account and a backlog in the hub, before anything runs; how many events it has."""
    home.data.mkdir(parents=True)
    with running_azurite(home.data / "azurite") as azurite:
        register_models(AzureBlobs(azurite.connection_string), Settings().model, devices, backlog_us[0], _SPEC)
    with running_hub(home.data / "hub", {HUB: PARTITIONS}) as hub:
        events = preload(
            hub.bootstrap, HUB, ((event.number, event.body) for event in events_between(devices, *backlog_us))
        )
        flushes = ((number, encode_flush(device_name(number))) for number in range(devices))
        return events + preload(hub.bootstrap, HUB, flushes)


@contextmanager
def _runtime(home: Home) -> Iterator[Pipeline]:
    launched = launch(home, RuntimePorts.free())
    try:
        yield Pipeline(home)
    finally:
        launched.stop()


async def _offered(pipeline: Pipeline, plan: _Plan, before: Look) -> _Offered:
    start_us = _next_minute_us()
    end_us = start_us + plan.offered_s * 1_000_000
    events = list(events_between(plan.devices, start_us, end_us))
    windows = windows_between(plan.devices, start_us, end_us, _SPEC)
    stored = before.events + len(events) + plan.devices
    watching = asyncio.create_task(
        asyncio.to_thread(
            pipeline.wait, events=stored, windows=before.windows + windows, timeout_s=plan.offered_s + 240
        )
    )
    sent = await offer(pipeline.settings, events, flush=True)
    monotonic = time.monotonic() - time.time()
    # A device's first event holds what it measured since the start, its last what is left at the end: in the first
    # round less than the full rate comes, and at the end everything that is left at once.
    steady = ((start_us + EVENT_US) / 1e6 + monotonic, end_us / 1e6 - 1 + monotonic)
    return _Offered(sent, await watching, windows, steady)


async def _alert_latencies(pipeline: Pipeline, plan: _Plan) -> list[float]:
    """Seconds from the closing event to the alert, for each alert of the phase."""
    start_us = _next_minute_us()
    end_us = start_us + plan.alert_minutes * _MINUTE_US
    faults = _faults(plan, start_us)
    events = list(events_between(plan.alert_devices, start_us, end_us + _LATENESS_US + EVENT_US + _SETTLE_US, faults))
    seen: dict[tuple[str, str, int], float] = {}
    done = asyncio.Event()

    async def look() -> None:
        while not done.is_set():
            alerts = await asyncio.to_thread(pipeline.results.alerts)
            now = time.time()
            for alert in alerts:
                seen.setdefault((alert.device, alert.sensor, alert.start_us), now)
            await asyncio.sleep(_POLL_S)

    watching = asyncio.create_task(look())
    sent = await offer(pipeline.settings, events)
    done.set()
    await watching
    return [
        shown - left
        for (device, _, window_us), shown in seen.items()
        if window_us >= start_us and (left := sent.closing(device, window_us + _MINUTE_US + _LATENESS_US)) is not None
    ]


def _faults(plan: _Plan, start_us: int) -> dict[int, list[Fault]]:
    """In each minute some other devices have a sensor whose level shifts for that minute."""
    chosen = np.random.default_rng(1).permutation(plan.alert_devices)
    faults: dict[int, list[Fault]] = {}
    for place, number in enumerate(chosen[: plan.alert_minutes * plan.faults_per_minute].tolist()):
        first_us = start_us + place // plan.faults_per_minute * _MINUTE_US
        make = partial(Fault, kind=FaultKind.LEVEL_SHIFT, start_us=first_us, end_us=first_us + _MINUTE_US)
        faults[number] = [fault_of(number, place % SENSORS, make)]
    return faults


def _throughput(plan: _Plan, backlog: list[Look], offered: _Offered) -> list[Figure]:
    first = next(look for look in backlog if look.events)
    read = next(look for look in backlog if look.events == backlog[-1].events)
    done = backlog[-1]
    per_event = offered.sent.readings / (offered.sent.events - plan.devices)
    steady_from, steady_until = offered.steady
    live = [look for look in offered.looks if steady_from <= look.at <= steady_until]
    end = offered.looks[-1]
    offered_rate = readings_per_s(plan.devices)
    lag_s = max(look.lag for look in live) * per_event / offered_rate
    return [
        Figure(
            name="backlog: windowed",
            unit="readings/s",
            values=[(read.readings - first.readings) / (read.at - first.at)],
        ),
        Figure(
            name="backlog: until the last prediction",
            unit="readings/s",
            values=[_between(first, done)],
            at_least=50_000,
        ),
        Figure(name="offered: processed", unit="readings/s", values=[_between(live[0], live[-1])], at_least=49_000),
        Figure(name="offered: largest lag", unit="s", values=[lag_s], at_most=5.0),
        Figure(
            name="offered: last event to last prediction",
            unit="s",
            values=[end.at - offered.sent.until],
            at_most=10.0,
        ),
        Figure(name="offered: load generator behind by", unit="s", values=[offered.sent.behind_s]),
    ]


def _between(earlier: Look, later: Look) -> float:
    """Readings per second from one look to another."""
    return (later.readings - earlier.readings) / (later.at - earlier.at)


def _latency(latencies: list[float]) -> list[Figure]:
    p50, p95, p99 = np.percentile(latencies, (50, 95, 99)).tolist() if latencies else (np.nan,) * 3
    return [
        Figure(name="alerts measured", unit="", values=[len(latencies)], at_least=100),
        Figure(name="close to visible alert, p50", unit="s", values=[p50]),
        Figure(name="close to visible alert, p95", unit="s", values=[p95]),
        Figure(name="close to visible alert, p99", unit="s", values=[p99], at_most=2.0),
    ]


def _next_minute_us() -> int:
    """The next whole minute at least some seconds away."""
    return (time.time_ns() // 1000 + _SETTLE_US) // _MINUTE_US * _MINUTE_US + _MINUTE_US
