""".NET TimeSpan texts, the durations of host.json, retry policies and constant schedules."""

from __future__ import annotations

import re
from datetime import timedelta

_TIMESPAN = re.compile(
    r"(?P<sign>-)?(?:(?P<days>\d+)\.)?(?P<hours>\d{1,2}):(?P<minutes>\d{1,2})"
    r"(?::(?P<seconds>\d{1,2})(?:\.(?P<fraction>\d{1,7}))?)?"
)


def parse_timespan(text: str) -> timedelta:
    """The duration written as `[-][d.]hh:mm[:ss[.fffffff]]`. Raises ValueError for anything else."""
    match = _TIMESPAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a duration such as 00:05:00, got {text!r}")
    hours, minutes, seconds = (int(match[part] or 0) for part in ("hours", "minutes", "seconds"))
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError(f"expected hours below 24, minutes and seconds below 60, got {text!r}")
    span = timedelta(
        days=int(match["days"] or 0),
        hours=hours,
        minutes=minutes,
        seconds=seconds,
        microseconds=int((match["fraction"] or "0").ljust(7, "0")) // 10,
    )
    return -span if match["sign"] else span
