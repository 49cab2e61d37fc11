"""The foreground of `penstock up`: trains once, feeds simulated devices and shows what happens."""

import asyncio
import signal
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from infra.cli import output, showcase
from infra.cli.alerts import iso
from infra.cli.context import open_results, settings_of
from infra.cli.launch import Launched, StartFailed
from infra.cli.status import api, stream_status
from infra.feed.device_sender import DeviceSender
from infra.feed.live import LiveFeed
from infra.feed.results import Results, ScoreCount
from infra.local.home import RuntimeState
from infra.settings import Settings
from infra.simulation import Fault, Fleet, plan_faults
from models.contracts import Alert, AlertStatus
from models.errors import PenstockError, TryLater

_FEED_EVERY_S = 0.5
_LOOK_EVERY_S = 1.0
_PRINT_EVERY_S = 10.0
_BACKFILL_MINUTES = 10
_FAULT_EVERY_S = 60.0
_PLAN_US = 3_600_000_000


def watch(runtime: Launched, *, devices: int) -> None:
    """Return at Ctrl-C, SIGTERM or when the terminal closes. Raises StartFailed when the runtime ends under us."""
    settings = settings_of(runtime.home)
    fleet = Fleet(devices=devices)
    begin_us = time.time_ns() // 1000 // showcase.MINUTE_US * showcase.MINUTE_US
    if not showcase.knows(settings, fleet):
        begin_us -= _BACKFILL_MINUTES * showcase.MINUTE_US
        with output.working(f"training on two simulated hours of {devices} devices"):
            trained = showcase.train(runtime.home, fleet, begin_us)
        output.stdout.print(f"  model   {trained['version']}, {trained['fitted']} series; feeding the last minutes")
    asyncio.run(_Watch(runtime, settings, fleet, begin_us).run())


@dataclass
class _Seen:
    """The latest look at the runtime."""

    state: RuntimeState | None = None
    stream: dict[str, Any] | None = None
    scores: ScoreCount = field(default_factory=ScoreCount)
    alerts: list[Alert] = field(default_factory=list)
    trouble: str = ""


class _Watch:
    def __init__(self, runtime: Launched, settings: Settings, fleet: Fleet, begin_us: int) -> None:
        self._runtime, self._settings, self._fleet = runtime, settings, fleet
        self._results: Results = open_results(settings)
        self._begin_us = self._sent_until_us = begin_us
        self._faults: list[Fault] = []
        self._planned_until_us = begin_us
        self._seen = _Seen()
        self._fed = 0
        self._rate: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=10)

    async def run(self) -> None:
        """Feed and show until a signal comes or the runtime ends."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        work = [asyncio.create_task(self._feed()), asyncio.create_task(self._show())]
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({*work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*work, stopping):
            task.cancel()
        for outcome in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _feed(self) -> None:
        """Send what the devices measure, through restarts of the hub."""
        while True:
            try:
                async with DeviceSender(self._settings) as sender:
                    feed = LiveFeed(self._fleet, sender, start_us=self._sent_until_us)
                    fed_before = self._fed
                    while True:
                        feed.faults = self._due_faults()
                        await feed.send_due()
                        self._sent_until_us, self._fed = feed.sent_until_us, fed_before + feed.readings
                        await asyncio.sleep(_FEED_EVERY_S)
            except TryLater as error:
                self._seen.trouble = str(error)

    def _due_faults(self) -> list[Fault]:
        """Faults from the first one on, planned an hour at a time."""
        while self._planned_until_us < time.time_ns() // 1000 + _PLAN_US // 2:
            start_us, self._planned_until_us = self._planned_until_us, self._planned_until_us + _PLAN_US
            self._faults += plan_faults(
                self._fleet.series, start_us, self._planned_until_us, seed=self._fleet.seed, every_s=_FAULT_EVERY_S
            )
        return [fault for fault in self._faults if fault.end_us > self._sent_until_us]

    async def _show(self) -> None:
        if not output.stdout.is_terminal:
            while True:
                await asyncio.to_thread(self._look)
                output.stdout.print(self._line())
                await asyncio.sleep(_PRINT_EVERY_S)
        with Live(self._view(), console=output.stdout, auto_refresh=False, transient=True) as live:
            while True:
                await asyncio.to_thread(self._look)
                live.update(self._view(), refresh=True)
                await asyncio.sleep(_LOOK_EVERY_S)

    def _look(self) -> None:
        """Take a new look; parts that do not answer leave the old one."""
        if not self._runtime.alive():
            raise StartFailed(f"the supervisor ended; see {self._runtime.home.logs / 'supervisor.log'}")
        seen = self._seen
        seen.state = self._runtime.home.read_state()
        seen.stream = stream_status(self._settings.stream_web_port) or seen.stream
        try:
            self._results.count_scores(seen.scores)
            seen.alerts = [alert for alert in self._results.alerts() if alert.device in set(self._fleet.devices)]
            seen.trouble = ""
        except PenstockError as error:
            seen.trouble = str(error)
        self._rate.append((time.monotonic(), self._fed))

    def _per_second(self) -> float:
        (since, before), (now, after) = self._rate[0], self._rate[-1]
        return (after - before) / max(now - since, 1e-9)

    def _line(self) -> str:
        scores, totals = self._seen.scores, (self._seen.stream or {}).get("totals", {})
        raised = sum(alert.status is AlertStatus.RAISED for alert in self._seen.alerts)
        return (
            f"{self._per_second():.0f} readings/s, {self._fed} fed, {totals.get('windows', 0)} windows, "
            f"{scores.scored} scored, {scores.learning} learning, {len(self._seen.alerts)} alerts ({raised} open), "
            f"{totals.get('late', 0)} late, lag {totals.get('lag', '?')} events"
        )

    def _view(self) -> RenderableType:
        seen = self._seen
        parts = seen.state.parts if seen.state else []
        lags = {number: entry.get("lag") for number, entry in (seen.stream or {}).get("partitions", {}).items()}
        rows = [
            (part.name, part.state, part.pid or "-", part.restarts, ", ".join(map(str, part.ports.values())) or "-")
            for part in parts
        ]
        lines: list[RenderableType] = [
            Text(self._line(), style="bold"),
            Text("lag per partition: " + (", ".join(f"{n}: {lag}" for n, lag in sorted(lags.items())) or "-")),
            Text(f"API {api(seen.state)}" if seen.state else ""),
            output.table(("part", "state", "pid", "restarts", "ports"), rows),
            Text(self._faults_now()),
            output.table(("last alerts", "sensor", "from", "windows", "peak", "status"), self._alert_rows()),
        ]
        if seen.trouble:
            lines.append(Text(seen.trouble, style="red"))
        lines.append(Text("Ctrl-C stops everything", style="dim"))
        return Group(*lines)

    def _alert_rows(self) -> list[tuple[object, ...]]:
        return [
            (a.device, a.sensor, iso(a.start_us)[11:], a.windows, f"{a.peak_score:.1f}", a.status)
            for a in self._seen.alerts[:8]
        ]

    def _faults_now(self) -> str:
        now_us = time.time_ns() // 1000
        active = [f"{f.kind} on {f.device}/{f.sensor}" for f in self._faults if f.start_us <= now_us < f.end_us]
        return "injected faults now: " + (", ".join(active) or "none")
