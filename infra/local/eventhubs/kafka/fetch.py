"""Fetch with a real long poll, and looking up offsets."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kio.schema.errors import ErrorCode

from ..errors import HubError, UnknownTopic
from ..hub import Hub
from ..log.batch import count_records
from ..log.partition import PartitionLog
from .codec import Fields
from .error_codes import code_of
from .session import Session

_LATEST, _EARLIEST, _MAX_TIMESTAMP = -1, -2, -3
_READ_COMMITTED = 1


async def fetch(session: Session, body: Any) -> Fields:
    """Records from the asked offsets, as soon as there are `min_bytes` of them or `max_wait` is over.

    An error of any partition is answered at once. The first partition with records gives at least one batch, however
    large, so that no limit can keep a client from going on.
    """
    wanted = [(topic.topic, partition) for topic in body.topics for partition in topic.partitions]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + body.max_wait.total_seconds()
    with _watching(session.hub, wanted) as changed:
        while not _enough(session.hub, wanted, body.min_bytes):
            changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
            except TimeoutError:
                break
    if not session.may("listen"):
        return {"responses": _refused(body)}
    answers = _read_all(session.hub, body)
    session.throttle_s = _throttle(session.hub, answers)
    return {"responses": answers, "throttle_time": datetime.timedelta(seconds=session.throttle_s)}


def _refused(body: Any) -> list[Fields]:
    code = ErrorCode.topic_authorization_failed
    return [
        {
            "topic": topic.topic,
            "partitions": [
                {"partition_index": each.partition, "error_code": code, "high_watermark": -1, "records": b""}
                for each in topic.partitions
            ],
        }
        for topic in body.topics
    ]


def _throttle(hub: Hub, answers: list[Fields]) -> float:
    """For how long the client has to wait after what it is given now, in seconds."""
    if hub.throughput is None:
        return 0.0
    given = [partition["records"] for answer in answers for partition in answer["partitions"]]
    events = sum(count_records(records) for records in given)
    return hub.throughput.egress.take(sum(map(len, given)), events, time.monotonic())


@contextmanager
def _watching(hub: Hub, wanted: list[tuple[str, Any]]) -> Iterator[asyncio.Event]:
    """An event that is set whenever one of the partitions has something new."""
    changed = asyncio.Event()
    logs = [log for topic, partition in wanted if (log := _find(hub, topic, partition.partition))]
    for log in logs:
        log.watchers.add(changed.set)
    try:
        yield changed
    finally:
        for log in logs:
            log.watchers.discard(changed.set)


def _find(hub: Hub, topic: str, index: int) -> PartitionLog | None:
    try:
        return hub.partition(topic, index)
    except UnknownTopic:
        return None


def _enough(hub: Hub, wanted: list[tuple[str, Any]], min_bytes: int) -> bool:
    ready = 0
    for topic, partition in wanted:
        log = _find(hub, topic, partition.partition)
        if log is None or not _readable(log, partition.fetch_offset):
            return True
        ready += log.bytes_after(partition.fetch_offset)
        if ready >= min_bytes:
            return True
    return ready >= min_bytes


def _readable(log: PartitionLog, offset: int) -> bool:
    # Up to the end, not the high watermark: a reader may stand where records wait for the disk.
    return log.start_offset <= offset <= log.end_offset


def _read_all(hub: Hub, body: Any) -> list[Fields]:
    budget = min(body.max_bytes, hub.settings.max_fetch_bytes)
    left = budget
    aborted = () if body.isolation_level == _READ_COMMITTED else None
    answers: list[Fields] = []
    for topic in body.topics:
        partitions = []
        for partition in topic.partitions:
            limit = min(partition.partition_max_bytes, left)
            answer = _read(hub, topic.topic, partition, limit if left > 0 else None)
            answer["aborted_transactions"] = aborted
            left -= len(answer["records"])
            partitions.append(answer)
        answers.append({"topic": topic.topic, "partitions": partitions})
    return answers


def _read(hub: Hub, topic: str, partition: Any, limit: int | None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "partition_index": partition.partition,
        "high_watermark": -1,
        "last_stable_offset": -1,
        "log_start_offset": -1,
        "records": b"",
    }
    log = _find(hub, topic, partition.partition)
    if log is None:
        answer["error_code"] = ErrorCode.unknown_topic_or_partition
        return answer
    answer["high_watermark"] = answer["last_stable_offset"] = log.high_watermark
    answer["log_start_offset"] = log.start_offset
    if not _readable(log, partition.fetch_offset):
        answer["error_code"] = ErrorCode.offset_out_of_range
    elif limit is not None:
        answer["records"] = log.read(partition.fetch_offset, limit)
    return answer


async def list_offsets(session: Session, body: Any) -> Fields:
    """The offset for a time of appending, or for the earliest or latest record."""
    return {
        "topics": [
            {
                "name": topic.name,
                "partitions": [_list_offset(session.hub, topic.name, each) for each in topic.partitions],
            }
            for topic in body.topics
        ]
    }


def _list_offset(hub: Hub, topic: str, partition: Any) -> Fields:
    answer: dict[str, Any] = {"partition_index": partition.partition_index, "leader_epoch": 0}
    try:
        log = hub.partition(topic, partition.partition_index)
    except HubError as error:
        return answer | {"error_code": code_of(error)}
    if partition.timestamp == _LATEST:
        return answer | {"offset": log.high_watermark}
    if partition.timestamp == _EARLIEST:
        return answer | {"offset": log.start_offset}
    time_ms = log.last_append_ms if partition.timestamp == _MAX_TIMESTAMP else partition.timestamp
    found = log.find_time(time_ms) if time_ms >= 0 else None
    return answer if found is None else answer | {"offset": found[0], "timestamp": found[1]}
