"""When a timer fires: six-field NCRONTAB expressions and constant intervals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter

from infra.local.functions_host.timespan import parse_timespan

_MONITORED_FROM = timedelta(minutes=1)


class Schedule(Protocol):
    """A timer's schedule."""

    def next_after(self, moment: datetime) -> datetime:
        """The first occurrence strictly after an aware `moment`."""
        ...


@dataclass(frozen=True)
class CronSchedule:
    """`second minute hour day month weekday`, read in a time zone; five fields have second 0."""

    expression: str
    zone: tzinfo

    def next_after(self, moment: datetime) -> datetime:
        """The first occurrence strictly after an aware `moment`, in this schedule's zone.

        Counted on the wall clock: in the hour that an autumn night has twice, the second one has no
        occurrences of its own.
        """
        # On wall time without a zone: with one, croniter is an hour off after a change of the clock. And
        # without the flag it takes the seconds from the last field, and every timer is off.
        wall = moment.astimezone(self.zone).replace(tzinfo=None)
        occurrences = croniter(self.expression, wall, second_at_beginning=True)
        while True:
            found: datetime = occurrences.get_next(datetime)
            for fold in (0, 1):
                occurrence = found.replace(tzinfo=self.zone, fold=fold)
                # As instants: two times of one zone would be compared by the wall clock.
                if occurrence.astimezone(UTC) > moment.astimezone(UTC):
                    return occurrence


@dataclass(frozen=True)
class ConstantSchedule:
    """Fires every `interval`, counted from the last run."""

    interval: timedelta

    def next_after(self, moment: datetime) -> datetime:
        """`interval` after `moment`."""
        return moment + self.interval


def parse_schedule(text: str, zone: tzinfo) -> Schedule:
    """The schedule a timer trigger's `schedule` means. Raises ValueError for a text that is none."""
    text = text.strip()
    if ":" in text:
        interval = parse_timespan(text)
        if interval <= timedelta(0):
            raise ValueError(f"a timer's interval has to be positive, got {text!r}")
        return ConstantSchedule(interval)
    fields = text.split()
    if len(fields) == 5:
        fields.insert(0, "0")
    if len(fields) != 6:
        raise ValueError(f"expected six fields (second first) or a TimeSpan, got {text!r}")
    expression = " ".join(fields)
    if not croniter.is_valid(expression, second_at_beginning=True):
        raise ValueError(f"no schedule: {text!r}")
    return CronSchedule(expression, zone)


def is_monitored(schedule: Schedule, wanted: bool, now: datetime) -> bool:
    """Whether missed runs are made up for: switched off for schedules that fire more often than once a minute."""
    first = schedule.next_after(now)
    return wanted and schedule.next_after(first) - first >= _MONITORED_FROM


def time_zone(name: str | None) -> tzinfo:
    """The zone of `WEBSITE_TIME_ZONE` or `TZ`; without a name that of Azure, UTC. Raises ValueError."""
    if not name or name.upper() in ("UTC", "ETC/UTC"):
        return UTC  # needs no time zone database, which a slim system lacks
    try:
        return ZoneInfo(name.lstrip(":"))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"unknown time zone {name!r}") from error
