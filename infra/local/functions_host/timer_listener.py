"""Timer-triggered functions: fire on schedule, one run at a time, whatever the runs do."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infra.local.functions_host.bindings import IndexedFunction
from infra.local.functions_host.conversion import json_datum
from infra.local.functions_host.invocation import Invoker, Trigger
from infra.local.functions_host.pacing import pause
from infra.local.functions_host.retries import invoke_with_retries
from infra.local.functions_host.schedule import Schedule
from infra.local.functions_host.storage import OUTAGE_POLL_S, OutageLog, is_outage
from infra.local.functions_host.timer_status import TimerStatus, TimerStatusBlob, after_restart, after_run

log = logging.getLogger("functions_host.timer")

# A clock that is set, or a laptop that slept, is noticed within this time.
_LONGEST_NAP_S = 30.0


@dataclass(frozen=True)
class TimerPlan:
    """A timer function and when it runs; `monitored` timers make up for one missed run."""

    function: IndexedFunction
    schedule: Schedule
    monitored: bool
    run_on_startup: bool


class TimerListener:
    """Runs one timer function until stopped.

    Runs never overlap: the next occurrence is computed after a run ended. Errors never stop the schedule.
    """

    def __init__(self, plan: TimerPlan, status_blob: TimerStatusBlob, invoker: Invoker) -> None:
        self._plan = plan
        self._blob = status_blob
        self._invoker = invoker
        self._stopping = asyncio.Event()
        self._running = False
        self._outage = OutageLog(f"the status of timer {plan.function.name}")

    @property
    def running(self) -> bool:
        """Whether the function runs at this moment."""
        return self._running

    async def run(self) -> None:
        """Fire until `stop()`; returns after the run that was under way."""
        now = _now()
        stored = await self._read_status() if self._plan.monitored else None
        status = after_restart(stored, self._plan.schedule, now)
        if status != stored:
            await self._write_status(status)
        if now > status.next:
            log.info("timer %s is past due since %s", self._plan.function.name, status.next)
            status = await self._fire(status, past_due=True)
        elif self._plan.run_on_startup:
            status = await self._fire(status, past_due=False)
        while await self._sleep_until(status.next):
            status = await self._fire(status, past_due=False)

    def stop(self) -> None:
        """Fire no more; a run under way ends."""
        self._stopping.set()

    async def _sleep_until(self, moment: datetime) -> bool:
        """Whether the moment came; False when the timer was stopped before."""
        while not self._stopping.is_set():
            left_s = (moment - _now()).total_seconds()
            if left_s <= 0:
                return True
            await pause(min(left_s, _LONGEST_NAP_S), self._stopping)
        return False

    async def _fire(self, status: TimerStatus, *, past_due: bool) -> TimerStatus:
        if self._stopping.is_set():
            return status
        started = _now()
        self._running = True
        try:
            await invoke_with_retries(
                self._invoker, self._plan.function, timer_trigger(status, past_due=past_due), self._stopping
            )
        finally:
            self._running = False
        following = after_run(self._plan.schedule, started, _now())
        await self._write_status(following)
        return following

    async def _read_status(self) -> TimerStatus | None:
        while not self._stopping.is_set():
            try:
                status = await self._blob.read()
            except Exception as error:
                self._outage.failed(error)
                if not is_outage(error):
                    return None
                await pause(OUTAGE_POLL_S, self._stopping)
            else:
                self._outage.answered()
                return status
        return None

    async def _write_status(self, status: TimerStatus) -> None:
        if not self._plan.monitored:
            return
        try:
            await self._blob.write(status)
        except Exception as error:
            # The schedule goes on from memory; only a restart before the next write could run it twice.
            self._outage.failed(error)
        else:
            self._outage.answered()


def timer_trigger(status: TimerStatus, *, past_due: bool) -> Trigger:
    """What the function receives as `func.TimerRequest`."""
    return Trigger(
        json_datum(
            {
                "Schedule": {"AdjustForDST": True},
                "ScheduleStatus": status.as_json(),
                "IsPastDue": past_due,
            }
        )
    )


def by_hand() -> Trigger:
    """What the admin endpoint runs: now, not past due, the schedule untouched."""
    now = _now()
    return timer_trigger(TimerStatus(None, now + timedelta(seconds=1), now), past_due=False)


def _now() -> datetime:
    return datetime.now(UTC)
