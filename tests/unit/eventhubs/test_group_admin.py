from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kio.schema.errors import ErrorCode

from infra.local.eventhubs.groups.consumer import subscription
from infra.local.eventhubs.groups.model import JoinRequest, Protocol, SyncRequest
from infra.local.eventhubs.hub import Hub
from infra.local.eventhubs.kafka.apis import Api
from infra.local.eventhubs.kafka.codec import decode_request, read_prefix
from infra.local.eventhubs.kafka.group_admin import offset_delete
from infra.local.eventhubs.kafka.session import Session
from infra.local.eventhubs.log.flush import Flusher
from infra.local.eventhubs.offsets import Committed, OffsetStore
from infra.local.eventhubs.settings import GroupSettings, HubSettings, LogSettings
from infra.local.eventhubs.status import look

from .batches import make_batch
from .test_kafka_codec import request_frame


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    settings = HubSettings(
        tmp_path,
        {"read": 2, "other": 1},
        log=LogSettings(fsync="none"),
        groups=GroupSettings(initial_rebalance_delay_ms=0),
    )
    opened = Hub(settings)
    yield opened
    await opened.close()


def subscribed_to(*topics: str) -> bytes:
    names = b"".join(struct.pack(">h", len(topic)) + topic.encode() for topic in topics)
    return struct.pack(">hi", 1, len(topics)) + names + struct.pack(">i", -1)


async def join(hub: Hub, group: str, metadata: bytes) -> None:
    request = JoinRequest(
        "", None, "client", "host", 30, 30, "consumer", (Protocol("range", metadata),), False, False
    )
    joined = await hub.coordinator.join(group, request)
    await hub.coordinator.sync(
        group, SyncRequest(joined.member_id, None, joined.generation, "consumer", "range", {joined.member_id: b"x"})
    )


async def forget(hub: Hub, group: str, *places: tuple[str, int]) -> tuple[int, list[int]]:
    topics = [{"name": topic, "partitions": [{"partition_index": index}]} for topic, index in places]
    frame = request_frame(Api.OFFSET_DELETE, 0, group_id=group, topics=topics)
    body = decode_request(read_prefix(frame), frame).body
    answer: Any = await offset_delete(Session(hub, "localhost", 9092, "127.0.0.1"), body)
    codes = [each["error_code"] for topic in answer.get("topics", ()) for each in topic["partitions"]]
    return answer.get("error_code", ErrorCode.none), codes


async def test_offsets_are_forgotten_one_by_one_and_for_good(hub: Hub, tmp_path: Path) -> None:
    for place in (("read", 0), ("read", 1), ("other", 0)):
        hub.offsets.commit("g", *place, Committed(5, -1, ""))
    assert await forget(hub, "g", ("read", 0), ("other", 0), ("nowhere", 0)) == (
        ErrorCode.none,
        [ErrorCode.none, ErrorCode.none, ErrorCode.unknown_topic_or_partition],
    )
    assert list(hub.offsets.committed("g")) == [("read", 1)]
    assert (await forget(hub, "unknown", ("read", 0)))[0] == ErrorCode.group_id_not_found
    hub.offsets.close()
    hub.offsets = OffsetStore(tmp_path / "offsets.journal", Flusher("none", 0))
    assert list(hub.offsets.committed("g")) == [("read", 1)], "also after a restart"
    hub.offsets.forget_group("g")
    assert hub.offsets.groups() == []


async def test_offsets_of_a_topic_that_is_read_stay(hub: Hub) -> None:
    for topic in ("read", "other"):
        hub.offsets.commit("g", topic, 0, Committed(5, -1, ""))
    await asyncio.wait_for(join(hub, "g", subscribed_to("read")), 5)
    assert await forget(hub, "g", ("read", 0), ("other", 0)) == (
        ErrorCode.none,
        [ErrorCode.group_subscribed_to_topic, ErrorCode.none],
    )
    assert list(hub.offsets.committed("g")) == [("read", 0)]


async def test_lag_counts_what_is_still_to_be_read(hub: Hub) -> None:
    log = hub.partition("read", 0)
    for number in range(10):
        log.append(make_batch(b"%d" % number), number)
    hub.offsets.commit("g", "read", 0, Committed(4, -1, ""))
    assert [each.lag for each in look(hub).groups] == [6]
    log.delete_before(7)
    assert [each.lag for each in look(hub).groups] == [3], "deleted records are not to be read"


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"\0\1",
        b"\0\1\0\0\0\5\0\1",
        b"\0\0\0\0\0\1\0\2\xff\xff",
        b"\0\0\x7f\xff\xff\xff\xff\xfe",  # two thousand million topics of length -2, which lead nowhere
    ],
)
def test_what_is_no_subscription_names_no_topics(metadata: bytes) -> None:
    assert subscription(metadata) == []


def test_a_subscription_names_its_topics() -> None:
    assert subscription(subscribed_to("a", "topic")) == ["a", "topic"]
