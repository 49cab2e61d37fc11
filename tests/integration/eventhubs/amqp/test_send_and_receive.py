from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable
from typing import Any

import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, EventHubProducerClient
from azure.eventhub.exceptions import EventDataSendError

from infra.local.eventhubs.testing import RunningHub
from tests.integration.eventhubs.amqp.sdk import Listening, bodies, consumer, producer, receive, send

pytestmark = pytest.mark.integration
NewTopic = Callable[[int], str]


def test_properties_tell_of_hub_and_partition(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(3)
    send(hub, topic, [b"one", b"two"], partition_id="1")
    with producer(hub, topic) as client:
        properties = client.get_eventhub_properties()
        assert properties["eventhub_name"] == topic
        assert properties["partition_ids"] == ["0", "1", "2"]
        assert abs(properties["created_at"].timestamp() - time.time()) < 60
        full, empty = client.get_partition_properties("1"), client.get_partition_properties("2")
    assert (full["beginning_sequence_number"], full["last_enqueued_sequence_number"]) == (0, 1)
    assert (full["last_enqueued_offset"], full["is_empty"]) == ("1", False)
    assert abs(full["last_enqueued_time_utc"].timestamp() - time.time()) < 60
    assert (empty["last_enqueued_sequence_number"], empty["is_empty"]) == (-1, True)


def test_an_event_comes_back_as_it_was_sent(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    event = EventData(b"\0body\xff")
    event.properties = {"text": "x", "number": 7, "flag": True, "bytes": b"\0", "float": 1.5}
    event.content_type, event.correlation_id, event.message_id = "application/json", "c", "m"
    send(hub, topic, [event])
    [got] = receive(hub, topic, 1)
    assert bodies([got]) == [b"\0body\xff"]
    assert got.properties == {b"text": b"x", b"number": 7, b"flag": True, b"bytes": b"\0", b"float": 1.5}
    assert (got.content_type, got.correlation_id, got.message_id) == ("application/json", "c", "m")
    assert (got.offset, got.sequence_number, got.partition_key) == ("0", 0, None)
    assert got.enqueued_time is not None
    assert abs(got.enqueued_time.timestamp() - time.time()) < 60


def test_events_of_one_key_lie_in_one_partition_in_order(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(4)
    with producer(hub, topic) as client:
        for number in range(3):
            for key in ("a", "b", "c"):
                client.send_batch([EventData(b"%d" % number)], partition_key=key)
        partitions = [partition for partition in "0123" if not client.get_partition_properties(partition)["is_empty"]]
    seen: dict[bytes | None, list[bytes]] = {}
    with Listening(consumer(hub, topic), starting_position="-1") as listening:
        assert listening.wait_for(lambda: len(listening.events) == 9)
        for event in listening.events:
            seen.setdefault(event.partition_key, []).extend(bodies([event]))
    assert seen == {key: [b"0", b"1", b"2"] for key in (b"a", b"b", b"c")}
    assert len(partitions) <= 3


def test_events_without_a_key_go_round(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(2)
    with producer(hub, topic) as client:
        for number in range(4):
            client.send_event(EventData(b"%d" % number))
        counts = [client.get_partition_properties(p)["last_enqueued_sequence_number"] + 1 for p in "01"]
    assert counts == [2, 2]


def test_every_start_position_begins_where_it_says(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    send(hub, topic, [b"0", b"1", b"2"])
    time.sleep(0.02)
    between = datetime.datetime.now(datetime.UTC)
    time.sleep(0.02)
    send(hub, topic, [b"3", b"4"])

    def start(position: Any, count: int, inclusive: bool = False) -> list[bytes]:
        got = receive(hub, topic, count, starting_position=position, starting_position_inclusive=inclusive)
        return bodies(got)

    assert start("-1", 5) == [b"0", b"1", b"2", b"3", b"4"]
    assert start(1, 3) == [b"2", b"3", b"4"]
    assert start(1, 4, inclusive=True) == [b"1", b"2", b"3", b"4"]
    assert start("3", 1) == [b"4"]
    assert start("3", 2, inclusive=True) == [b"3", b"4"]
    assert start(between, 2) == [b"3", b"4"]


def test_latest_sees_only_what_comes_later(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    send(hub, topic, [b"before"])
    client = consumer(hub, topic)
    with Listening(client, partition_id="0", starting_position="@latest") as listening:
        for number in range(20):
            send(hub, topic, [b"%d" % number])
            if listening.wait_for(lambda: listening.events, 1):
                break
        assert listening.wait_for(lambda: listening.events)
    assert b"before" not in bodies(listening.events)


def test_a_full_batch_of_many_frames_arrives_whole(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    with producer(hub, topic) as client:
        batch = client.create_batch()
        count = 0
        try:
            while True:
                batch.add(EventData(b"%06d" % count + b"x" * 294))
                count += 1
        except ValueError:
            pass
        client.send_batch(batch)
        large = client.create_batch()
        large.add(EventData(bytes(900_000)))
        client.send_batch(large)
    events = receive(hub, topic, count + 1)
    assert [body[:6] for body in bodies(events[:-1])] == [b"%06d" % index for index in range(count)]
    assert bodies(events[-1:]) == [bytes(900_000)]


def test_an_event_over_the_limit_is_refused_by_its_amqp_name(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    with producer(hub, topic) as client:
        with pytest.raises((EventDataSendError, ValueError), match=r"(?i)size"):
            client.send_event(EventData(bytes(1_048_576)), partition_id="0")
        client.send_event(EventData(b"small"), partition_id="0")
    assert bodies(receive(hub, topic, 1)) == [b"small"]


def test_the_last_enqueued_event_is_told_when_asked_for(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    send(hub, topic, [b"0", b"1"])
    options = {"partition_id": "0", "starting_position": "-1", "track_last_enqueued_event_properties": True}
    with Listening(consumer(hub, topic), **options) as listening:
        assert listening.wait_for(lambda: len(listening.events) == 2)
    annotations = listening.events[0]._message.delivery_annotations
    assert annotations[b"last_enqueued_sequence_number"] == 1
    assert annotations[b"last_enqueued_offset"] == b"1"


async def test_the_async_clients_do_the_same(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(2)
    async with EventHubProducerClient.from_connection_string(hub.connection_string, eventhub_name=topic) as client:
        assert (await client.get_eventhub_properties())["partition_ids"] == ["0", "1"]
        for partition in "01":
            batch = await client.create_batch(partition_id=partition)
            for number in range(500):
                batch.add(EventData(f"{partition}-{number}"))
            await client.send_batch(batch)
        await client.send_batch([EventData("keyed")], partition_key="k")
    got: list[str] = []
    receiving = EventHubConsumerClient.from_connection_string(hub.connection_string, "$Default", eventhub_name=topic)

    async def on_batch(_context: Any, events: list[EventData]) -> None:
        got.extend(event.body_as_str() for event in events)
        if len(got) >= 1001:
            done.set()

    done = asyncio.Event()
    async with receiving:
        task = asyncio.create_task(receiving.receive_batch(on_batch, starting_position="-1"))
        async with asyncio.timeout(20):
            await done.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for partition in "01":
        assert [body for body in got if body.startswith(f"{partition}-")] == [f"{partition}-{n}" for n in range(500)]
    assert got.count("keyed") == 1
