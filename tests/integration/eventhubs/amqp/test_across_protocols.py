"""One log, two protocols: what one writes, the other reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from azure.eventhub import EventData

from infra.local.eventhubs.testing import RunningHub
from tests.integration.eventhubs.amqp.sdk import amqp_value, bodies, producer, receive, send
from tests.integration.eventhubs.clients import PRODUCERS, READERS, Event

pytestmark = pytest.mark.integration
NewTopic = Callable[[int], str]


@pytest.mark.parametrize("client", READERS)
async def test_kafka_reads_what_amqp_wrote(hub: RunningHub, new_topic: NewTopic, client: str) -> None:
    topic = new_topic(1)
    send(hub, topic, [b"plain"])
    event = EventData(b"with properties")
    event.properties = {"text": "x", "number": 7}
    event.content_type = "text/plain"
    with producer(hub, topic) as sending:
        sending.send_batch([event], partition_key="key")
    plain, rich = await READERS[client](hub.bootstrap, topic, 1, 2)
    assert plain.event == Event(None, b"plain")
    assert (rich.event.key, rich.event.value) == (b"key", b"with properties")
    headers = dict(rich.event.headers)
    assert (amqp_value(headers["text"]), amqp_value(headers["number"])) == (b"x", 7)


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("client", PRODUCERS)
async def test_amqp_reads_what_kafka_wrote(
    hub: RunningHub, new_topic: NewTopic, client: str, compression: str | None
) -> None:
    topic = new_topic(1)
    events = [Event(b"key-%d" % n, b"value-%d" % n, (("header", b"\0\xff%d" % n),)) for n in range(50)]
    events += [Event(None, b"bare")]
    await PRODUCERS[client](hub.bootstrap, topic, events, compression)
    got = receive(hub, topic, len(events))
    assert bodies(got) == [event.value for event in events]
    assert [each.partition_key for each in got] == [event.key for event in events]
    assert [each.properties or {} for each in got] == [
        {name.encode(): value for name, value in event.headers} for event in events
    ]
    assert [each.sequence_number for each in got] == list(range(len(events)))


async def test_what_kafka_passes_on_keeps_its_amqp_properties(hub: RunningHub, new_topic: NewTopic) -> None:
    first, second = new_topic(1), new_topic(1)
    event = EventData(b"body")
    event.properties = {"text": "x", "number": 7}
    event.content_type = "text/plain"
    send(hub, first, [event])
    [seen] = await READERS["aiokafka"](hub.bootstrap, first, 1, 1)
    await PRODUCERS["aiokafka"](hub.bootstrap, second, [seen.event], None)
    [got] = receive(hub, second, 1)
    assert got.properties == {b"text": b"x", b"number": 7}
    assert (bodies([got]), got.content_type) == ([b"body"], "text/plain")


async def test_both_protocols_read_the_same_after_a_kill(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    await PRODUCERS["confluent"](hub.bootstrap, topic, [Event(None, b"kafka")], None)
    send(hub, topic, [b"amqp"])
    hub.kill()
    hub.start()
    send(hub, topic, [b"again"])
    expected = [b"kafka", b"amqp", b"again"]
    assert [seen.event.value for seen in await READERS["confluent"](hub.bootstrap, topic, 1, 3)] == expected
    assert bodies(receive(hub, topic, 3)) == expected
