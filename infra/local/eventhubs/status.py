"""What can be said about a running hub: its hubs, groups and their lag; as values, as metrics, and as a page."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import NamedTuple

from .groups.model import State
from .hub import Hub


class PartitionStatus(NamedTuple):
    """One partition. Offsets count records; `size_bytes` is what lies on disk."""

    topic: str
    partition: int
    start_offset: int
    high_watermark: int
    size_bytes: int


class GroupStatus(NamedTuple):
    """Where a group stands in one partition. `lag` is how many records it has still to read."""

    group: str
    topic: str
    partition: int
    committed: int
    lag: int


class Status(NamedTuple):
    """A moment's view."""

    partitions: list[PartitionStatus]
    groups: list[GroupStatus]
    states: dict[str, tuple[str, int]]
    """State and number of members of each group."""
    failures: list[str]
    """Why partitions take nothing: until a restart, or when last asked, a minute ago at most."""


def look(hub: Hub) -> Status:
    """The hub as it is now."""
    partitions = [
        PartitionStatus(topic.name, index, log.start_offset, log.high_watermark, log.size_bytes)
        for topic, index, log in hub.logs()
    ]
    ends = {(each.topic, each.partition): each for each in partitions}
    groups = []
    states = {name: (State.EMPTY.value, 0) for name in hub.offsets.groups()}
    for group in hub.coordinator.groups.values():
        states[group.group_id] = (group.state.value, len(group.members))
    for name in hub.offsets.groups():
        for (topic, index), committed in sorted(hub.offsets.committed(name).items()):
            end = ends.get((topic, index))
            if end is not None:
                unread_from = max(committed.offset, end.start_offset)
                lag = max(0, end.high_watermark - unread_from)
                groups.append(GroupStatus(name, topic, index, committed.offset, lag))
    now_ms = hub.clock_ms()
    failures = [trouble for _, _, log in hub.logs() if (trouble := log.trouble(now_ms)) is not None]
    return Status(partitions, groups, states, failures)


def metrics(hub: Hub) -> str:
    """The status in Prometheus' text format."""
    status = look(hub)
    of_partition = [
        (f'topic="{each.topic}",partition="{each.partition}"', each) for each in sorted(status.partitions)
    ]
    of_group = [
        (f'group="{_escape(each.group)}",topic="{each.topic}",partition="{each.partition}"', each)
        for each in status.groups
    ]
    lines = [
        *_metric("start_time_seconds", "gauge", "When the hub was started.", [("", hub.started_ms / 1000)]),
        *_metric("storage_failures", "gauge", "Partitions that take no events.", [("", len(status.failures))]),
        *_metric(
            "log_end_offset",
            "counter",
            "Offset after the last readable record.",
            [(labels, each.high_watermark) for labels, each in of_partition],
        ),
        *_metric(
            "log_start_offset",
            "counter",
            "First offset that is kept.",
            [(labels, each.start_offset) for labels, each in of_partition],
        ),
        *_metric(
            "log_size_bytes", "gauge", "Bytes on disk.", [(labels, each.size_bytes) for labels, each in of_partition]
        ),
        *_metric(
            "group_committed_offset",
            "gauge",
            "Next offset the group reads.",
            [(labels, each.committed) for labels, each in of_group],
        ),
        *_metric(
            "group_lag", "gauge", "Records the group has not read.", [(labels, each.lag) for labels, each in of_group]
        ),
        *_metric(
            "group_members",
            "gauge",
            "Members of the group.",
            [(f'group="{_escape(name)}"', members) for name, (_, members) in sorted(status.states.items())],
        ),
    ]
    return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, text: str, values: Iterable[tuple[str, float]]) -> list[str]:
    full = f"eventhubs_{name}"
    rows = [f"{full}{{{labels}}} {value}" if labels else f"{full} {value}" for labels, value in values]
    return [f"# HELP {full} {text}", f"# TYPE {full} {kind}", *rows]


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;"
    "padding:0 1rem}table{border-collapse:collapse;width:100%;margin-bottom:2rem}th,td{text-align:left;"
    "padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}td{"
    "font-variant-numeric:tabular-nums}.bad{color:#c00}"
)


def page(hub: Hub) -> str:
    """The status for people; it reloads itself every five seconds."""
    status = look(hub)
    hubs = _table(
        ("hub", "partition", "first offset", "next offset", "bytes"),
        [tuple(map(str, each)) for each in sorted(status.partitions)],
    )
    groups = _table(
        ("group", "hub", "partition", "committed", "lag"), [tuple(map(str, each)) for each in status.groups]
    )
    members = _table(
        ("group", "state", "members"),
        [(name, state, str(count)) for name, (state, count) in sorted(status.states.items())],
    )
    failures = "".join(f'<p class="bad">{html.escape(each)}</p>' for each in status.failures)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        f"<title>Event Hubs, local</title><style>{_STYLE}</style><h1>{html.escape(hub.settings.namespace.name)}</h1>"
        f"{failures}<h2>Hubs</h2>{hubs}<h2>Groups</h2>{members}<h2>Lag</h2>{groups}"
        '<p><a href="/metrics">metrics</a> · <a href="/health">health</a></p></html>'
    )


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{html.escape(each)}</th>" for each in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
