"""Produce, and the ids of idempotent producers."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Awaitable
from typing import Any

from kio.schema.errors import ErrorCode

from ..errors import HubError, StorageFailed, UnknownCodec
from ..log.batch import HEADER_BYTES, read_header
from ..log.partition import Appended, PartitionLog
from .codec import Fields
from .error_codes import code_of
from .session import Session

_GZIP = 1
_log = logging.getLogger(__name__)


class LostWrite(Exception):
    """A write failed whose producer wants no answer: closing the connection is the only way to tell it."""


def produce(session: Session, body: Any) -> Awaitable[Fields | None]:
    """Append every batch now, in the order of arrival; the awaitable ends when they may be acknowledged.

    A producer may therefore send on while its earlier batches wait for the disk.
    """
    refused = _refuse(session, body)
    results = [
        (topic.name, [_append(session, topic.name, partition, refused) for partition in topic.partition_data])
        for topic in body.topic_data
    ]
    session.throttle_s = _throttle(session, results)
    return _acknowledge(results, body.acks, session.throttle_s)


def _throttle(session: Session, results: list[tuple[str, list[_Result]]]) -> float:
    """For how long the client has to wait after what it has just sent, in seconds."""
    throughput = session.hub.throughput
    if throughput is None:
        return 0.0
    done = [result for _, partitions in results for result in partitions if result.appended is not None]
    events = sum(result.appended.next_offset - result.appended.base_offset for result in done if result.appended)
    return throughput.ingress.take(sum(result.size for result in done), events, time.monotonic())


def _refuse(session: Session, body: Any) -> ErrorCode | None:
    if not session.may("send"):
        return ErrorCode.topic_authorization_failed
    if body.acks not in (-1, 0, 1):
        return ErrorCode.invalid_required_acks
    if body.transactional_id is not None:
        return ErrorCode.transactional_id_authorization_failed
    return None


class _Result:
    """One partition's part of the answer."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.code = ErrorCode.none
        self.message: str | None = None
        self.log: PartitionLog | None = None
        self.appended: Appended | None = None
        self.size = 0

    def fail(self, error: HubError) -> None:
        if isinstance(error, StorageFailed):
            _log.error("a producer was refused: %s", error)
        self.code, self.message, self.appended = code_of(error), str(error), None

    def fields(self) -> Fields:
        answer: dict[str, Any] = {
            "index": self.index,
            "error_code": self.code,
            "error_message": self.message,
            "base_offset": -1,
        }
        if self.log is not None and self.appended is not None:
            answer["base_offset"] = self.appended.base_offset
            answer["log_append_time"] = _utc(self.appended.append_ms)
            answer["log_start_offset"] = self.log.start_offset
        return answer


def _append(session: Session, topic: str, partition: Any, refused: ErrorCode | None) -> _Result:
    result = _Result(partition.index)
    if refused is not None:
        result.code = refused
        return result
    try:
        result.log = session.hub.partition(topic, partition.index)
        records = partition.records or b""
        if session.hub.settings.only_gzip:
            _check_codec(records)
        result.appended = result.log.append(records, session.hub.clock_ms())
        result.size = len(records)
    except HubError as error:
        result.fail(error)
    return result


def _check_codec(records: bytes) -> None:
    """Refuse what Event Hubs does not take: it knows no compression but gzip."""
    if len(records) >= HEADER_BYTES and read_header(records).codec > _GZIP:
        raise UnknownCodec("Event Hubs takes gzip or no compression")


async def _acknowledge(results: list[tuple[str, list[_Result]]], acks: int, throttle_s: float) -> Fields | None:
    for _, partitions in results:
        for result in partitions:
            if result.log is not None and result.appended is not None and acks != 0:
                try:
                    await result.log.settled(result.appended)
                except HubError as error:
                    result.fail(error)
    if acks == 0:
        failed = [result for _, partitions in results for result in partitions if result.code]
        if failed:
            raise LostWrite(failed[0].message or failed[0].code.name)
        return None
    return {
        "throttle_time": datetime.timedelta(seconds=throttle_s),
        "responses": [
            {"name": topic, "partition_responses": [result.fields() for result in partitions]}
            for topic, partitions in results
        ],
    }


def _utc(milliseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(milliseconds / 1000, tz=datetime.UTC)


async def init_producer_id(session: Session, body: Any) -> Fields:
    """A new id; an idempotent producer that lost its place asks for one again."""
    if body.transactional_id is not None:
        return {"error_code": ErrorCode.transactional_id_authorization_failed}
    try:
        return {"producer_id": session.hub.producer_ids.take(), "producer_epoch": 0}
    except HubError as error:
        return {"error_code": code_of(error)}
