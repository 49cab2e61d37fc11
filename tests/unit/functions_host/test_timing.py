"""Schedules, missed runs and polling pauses, on clocks of the tests."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from infra.local.functions_host.bindings import RetryPolicy
from infra.local.functions_host.pacing import Backoff, Doorbell, pause
from infra.local.functions_host.schedule import is_monitored, parse_schedule, time_zone
from infra.local.functions_host.timer_status import TimerStatus, after_restart, after_run

NOW = datetime(2026, 1, 31, 10, 0, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "following"),
    [
        ("0 */5 * * * *", datetime(2026, 1, 31, 10, 5, tzinfo=UTC)),
        ("*/5 * * * *", datetime(2026, 1, 31, 10, 5, tzinfo=UTC)),
        ("*/2 * * * * *", datetime(2026, 1, 31, 10, 0, 4, tzinfo=UTC)),
        ("30 0 9 * * 1", datetime(2026, 2, 2, 9, 0, 30, tzinfo=UTC)),
        ("0 0 0 1 JAN *", datetime(2027, 1, 1, tzinfo=UTC)),
        ("00:00:10", NOW + timedelta(seconds=10)),
    ],
)
def test_a_schedule_takes_the_second_first(schedule: str, following: datetime) -> None:
    assert parse_schedule(schedule, UTC).next_after(NOW) == following


def test_a_schedule_keeps_local_time_over_a_change_of_the_clock() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    schedule = parse_schedule("0 0 8 * * *", berlin)
    before = schedule.next_after(datetime(2026, 3, 28, 0, tzinfo=UTC))
    after = schedule.next_after(before)
    assert (before.astimezone(berlin).hour, after.astimezone(berlin).hour) == (8, 8)
    assert after.astimezone(UTC) - before.astimezone(UTC) == timedelta(hours=23)


@pytest.mark.parametrize("text", ["", "* * *", "0 61 * * * *", "00:00:00", "every day"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_schedule(text, UTC)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="Nowhere"):
        time_zone("Nowhere/Town")


def test_only_schedules_of_a_minute_or_more_are_made_up_for() -> None:
    assert is_monitored(parse_schedule("0 * * * * *", UTC), True, NOW)
    assert not is_monitored(parse_schedule("*/30 * * * * *", UTC), True, NOW)
    assert not is_monitored(parse_schedule("0 * * * * *", UTC), False, NOW)


HOURLY = parse_schedule("0 0 * * * *", UTC)


def test_a_new_timer_is_not_past_due() -> None:
    assert after_restart(None, HOURLY, NOW).next > NOW


def test_a_missed_occurrence_is_past_due_once_however_many_were_missed() -> None:
    stored = TimerStatus(NOW - timedelta(hours=5), HOURLY.next_after(NOW - timedelta(hours=5)), NOW)
    status = after_restart(stored, HOURLY, NOW)
    assert status.next < NOW
    assert after_run(HOURLY, NOW, NOW + timedelta(seconds=1)).next > NOW


def test_a_timer_that_never_ran_is_past_due_from_its_first_occurrence() -> None:
    created = NOW - timedelta(hours=2)
    assert after_restart(TimerStatus(None, HOURLY.next_after(created), created), HOURLY, NOW).next < NOW


def test_a_changed_schedule_starts_afresh() -> None:
    stored = TimerStatus(NOW - timedelta(hours=5), HOURLY.next_after(NOW - timedelta(hours=5)), NOW)
    daily = parse_schedule("0 0 4 * * *", UTC)
    assert after_restart(stored, daily, NOW).next > NOW


def test_polling_pauses_grow_from_100_ms_to_the_maximum_and_start_anew_with_a_message() -> None:
    backoff = Backoff(2.0, random.Random(1))
    pauses = [backoff.next_s() for _ in range(8)]
    assert pauses[0] == 0.1
    assert 0.18 <= pauses[1] <= 0.22
    assert pauses == sorted(pauses)
    assert pauses[-1] == 2.0
    backoff.reset()
    assert backoff.next_s() == 0.1


def test_a_maximum_below_the_minimum_still_leaves_a_pause() -> None:
    assert Backoff(0.0).next_s() == 0.1


async def test_a_rung_doorbell_ends_a_pause_at_once() -> None:
    bell = Doorbell()
    waiting = asyncio.create_task(pause(60, bell.of("q")))
    await asyncio.sleep(0)
    bell.ring("other")
    bell.ring("q")
    await asyncio.wait_for(waiting, 1)


def test_exponential_retries_double_up_to_their_maximum() -> None:
    policy = RetryPolicy(-1, timedelta(seconds=2), timedelta(seconds=10), exponential=True)
    assert [policy.delay(n).total_seconds() for n in (1, 2, 3, 4, 1000)] == [2, 4, 8, 10, 10]
