"""Contract of the EventSender port, on the fake and, over AMQP, on the local hub."""

import asyncio
import itertools
from collections.abc import Callable, Iterator

import aiokafka
import pytest

from infra.azure.eventhub import EventHubSender, connect
from infra.local.eventhubs.testing import RunningHub, running_hub
from models.errors import BadInput
from models.ports import EventSender
from tests.fakes import FakeSender

Events = Callable[[], list[tuple[str, bytes]]]
PARTITIONS = 2
NAMES = [f"ratings-{n}" for n in range(8)]
names = itertools.cycle(NAMES)


async def _read(bootstrap: str, hub: str) -> list[tuple[str, bytes]]:
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        partitions = [aiokafka.TopicPartition(hub, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        left = sum((await consumer.end_offsets(partitions)).values())
        found: list[tuple[str, bytes]] = []
        while len(found) < left:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [(record.key.decode(), record.value) for record in records]
        return found
    finally:
        await consumer.stop()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(
        tmp_path_factory.mktemp("hub") / "data", dict.fromkeys(NAMES, PARTITIONS), fsync="none"
    ) as running:
        yield running


@pytest.fixture(params=["fake", pytest.param("hub", marks=pytest.mark.integration)])
def sender_and_events(request):
    if request.param == "fake":
        fake = FakeSender()
        yield fake, lambda: fake.events
        return
    hub, name = request.getfixturevalue("hub"), next(names)
    real = EventHubSender(
        name, connect(name, connection=f"{hub.connection_string}EntityPath=another", namespace=None)
    )
    yield real, lambda: asyncio.run(_read(hub.bootstrap, name))
    real.close()


@pytest.fixture
def sender(sender_and_events: tuple[EventSender, Events]) -> EventSender:
    return sender_and_events[0]


@pytest.fixture
def events(sender_and_events: tuple[EventSender, Events]) -> Events:
    return sender_and_events[1]


def test_an_event_that_was_sent_is_in_the_log_with_its_key_byte_for_byte(sender: EventSender, events: Events) -> None:
    sent = [("ana ☂/7?#", b'{"a": 1}'), ("b", b"\x00\xff"), ("b", "grüße".encode()), ("c", b"")]
    for key, body in sent:
        sender.send(key, body)
    assert sorted(events()) == sorted(sent)


def test_events_of_one_key_stay_in_the_order_in_which_they_were_sent(sender: EventSender, events: Events) -> None:
    bodies = [b"%d" % n for n in range(20)]
    for body in bodies:
        sender.send("a", body)
    assert [body for _, body in events()] == bodies


def test_an_event_too_large_for_the_hub_is_bad_input_and_stops_no_other(sender: EventSender, events: Events) -> None:
    with pytest.raises(BadInput, match="at most"):
        sender.send("a", b"x" * (1024 * 1024 + 1))
    sender.send("a", b"after")
    assert events() == [("a", b"after")]
