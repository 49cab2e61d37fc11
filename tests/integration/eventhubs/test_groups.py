from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from confluent_kafka import Consumer, ConsumerGroupState, Producer
from confluent_kafka.admin import AdminClient

from infra.local.eventhubs.testing import RunningHub, running_hub

pytestmark = pytest.mark.integration
NewTopicFixture = Callable[[int], str]


def aiokafka_consumer(hub: RunningHub, topic: str, group: str, **settings: object) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        topic,
        bootstrap_servers=hub.bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        session_timeout_ms=3000,
        heartbeat_interval_ms=300,
        enable_auto_commit=False,
        **settings,
    )


async def until(condition: Callable[[], bool], timeout_s: float = 15.0) -> float:
    """Wait for it; returns the seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, "it did not come true in time"
        await asyncio.sleep(0.05)
    return time.monotonic() - started


def owned(*consumers: AIOKafkaConsumer) -> list[int]:
    return sorted(partition.partition for consumer in consumers for partition in consumer.assignment())


async def test_partitions_are_shared_out_and_taken_over(hub: RunningHub, new_topic: NewTopicFixture) -> None:
    topic = new_topic(4)
    async with AIOKafkaProducer(bootstrap_servers=hub.bootstrap) as producer:
        for number in range(400):
            await producer.send(topic, b"%d" % number, partition=number % 4)
    first, second = (aiokafka_consumer(hub, topic, topic) for _ in range(2))
    await asyncio.gather(first.start(), second.start())
    try:
        await until(lambda: len(owned(first)) == len(owned(second)) == 2)
        assert owned(first, second) == [0, 1, 2, 3]
        values = []
        while len(values) < 400:
            for consumer in (first, second):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    values += [int(record.value) for record in records]
        assert sorted(values) == list(range(400))
        await asyncio.gather(first.commit(), second.commit())
        await first.stop()
        assert await until(lambda: owned(second) == [0, 1, 2, 3]) < 5
    finally:
        await second.stop()
    again = aiokafka_consumer(hub, topic, topic)
    await again.start()
    try:
        assert await again.getmany(timeout_ms=700) == {}, "all was committed"
    finally:
        await again.stop()


VICTIM = textwrap.dedent("""
    import json, sys
    from confluent_kafka import Consumer
    consumer = Consumer(json.loads(sys.argv[1]))
    consumer.subscribe([sys.argv[2]], on_assign=lambda _, got: print(len(got), flush=True))
    while True:
        consumer.poll(0.1)
""")


async def test_a_killed_consumer_is_replaced_within_its_session(hub: RunningHub, new_topic: NewTopicFixture) -> None:
    topic = new_topic(2)
    config = {"bootstrap.servers": hub.bootstrap, "group.id": topic, "session.timeout.ms": 3000}
    victim = subprocess.Popen([sys.executable, "-c", VICTIM, json.dumps(config), topic], stdout=subprocess.PIPE)
    assert victim.stdout is not None
    survivor = aiokafka_consumer(hub, topic, topic)
    try:
        assert victim.stdout.readline() == b"2\n"
        await survivor.start()
        await until(lambda: len(owned(survivor)) == 1)
        os.kill(victim.pid, signal.SIGKILL)
        assert await until(lambda: owned(survivor) == [0, 1]) < 8
    finally:
        victim.kill()
        victim.wait()
        victim.stdout.close()
        await survivor.stop()


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
async def test_confluent_consumers_rebalance_by_either_protocol(
    hub: RunningHub, new_topic: NewTopicFixture, strategy: str
) -> None:
    topic = new_topic(4)
    producer = Producer({"bootstrap.servers": hub.bootstrap})
    revoked: list[int] = []

    def consumer() -> Consumer:
        made = Consumer(
            {
                "bootstrap.servers": hub.bootstrap,
                "group.id": topic,
                "partition.assignment.strategy": strategy,
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 200,
                "auto.offset.reset": "earliest",
            }
        )
        made.subscribe([topic], on_revoke=lambda _, gone: revoked.extend(each.partition for each in gone))
        return made

    consumers = [consumer()]
    values: list[int] = []

    def poll() -> list[int]:
        for each in consumers:
            values.extend(int(message.value() or b"") for message in each.consume(100, 0.05))
        return [len(each.assignment()) for each in consumers]

    try:
        await until(lambda: poll() == [4])
        for number in range(100):
            producer.produce(topic, b"%d" % number, partition=number % 4)
        producer.flush(10)
        await until(lambda: bool(poll()) and len(values) == 100)
        consumers.append(consumer())
        await until(lambda: poll() == [2, 2])
        assert len(revoked) == (2 if strategy == "cooperative-sticky" else 4)
        assert sorted(values) == list(range(100)), "offsets were committed before the partitions moved"
    finally:
        for each in consumers:
            each.close()


async def test_a_static_member_returns_without_a_rebalance(hub: RunningHub, new_topic: NewTopicFixture) -> None:
    topic = new_topic(2)
    assigned: list[list[int]] = []

    def member(name: str) -> Consumer:
        made = Consumer(
            {
                "bootstrap.servers": hub.bootstrap,
                "group.id": topic,
                "group.instance.id": name,
                "session.timeout.ms": 10000,
                "heartbeat.interval.ms": 200,
            }
        )
        made.subscribe([topic], on_assign=lambda _, got: assigned.append([each.partition for each in got]))
        return made

    a, b = member("a"), member("b")
    try:
        await until(lambda: not (a.poll(0.05), b.poll(0.05))[0] and len(a.assignment()) == len(b.assignment()) == 1)
        of_b = [each.partition for each in b.assignment()]
        assigned.clear()
        b.close()
        b = member("b")
        await until(lambda: not (a.poll(0.05), b.poll(0.05))[0] and len(b.assignment()) == 1)
        assert assigned == [of_b], "a kept what it had, b got the same again"
    finally:
        a.close()
        b.close()


async def test_groups_are_listed_and_described(hub: RunningHub, new_topic: NewTopicFixture) -> None:
    topic = new_topic(2)
    admin = AdminClient({"bootstrap.servers": hub.bootstrap})
    async with aiokafka_consumer(hub, topic, topic, client_id="teller") as consumer:
        await consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(0, "here")})
        assert topic in {group.group_id for group in admin.list_consumer_groups().result(10).valid}
        described = admin.describe_consumer_groups([topic])[topic].result(10)
        assert described.state is ConsumerGroupState.STABLE
        assert [member.client_id for member in described.members] == ["teller"]
        assert len(described.members[0].assignment.topic_partitions) == 2
    described = admin.describe_consumer_groups([topic])[topic].result(10)
    assert described.state is ConsumerGroupState.EMPTY


async def test_consumers_rejoin_after_a_restart_and_go_on_from_what_they_committed(tmp_path: Path) -> None:
    seen: list[int] = []

    async def read_up_to(count: int, *consumers: AIOKafkaConsumer) -> None:
        deadline = time.monotonic() + 20
        while len(seen) < count:
            assert time.monotonic() < deadline
            for consumer in consumers:
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    seen.extend(int(record.value) for record in records)

    with running_hub(tmp_path / "data", {"readings": 2}) as hub:
        async with (
            AIOKafkaProducer(bootstrap_servers=hub.bootstrap, enable_idempotence=True) as producer,
            aiokafka_consumer(hub, "readings", "g") as first,
            aiokafka_consumer(hub, "readings", "g") as second,
        ):
            await until(lambda: len(owned(first)) == len(owned(second)) == 1)
            for number in range(10):
                await producer.send_and_wait("readings", b"%d" % number, partition=number % 2)
            await read_up_to(10, first, second)
            await asyncio.gather(first.commit(), second.commit())
            hub.kill()
            hub.restart()
            for number in range(10, 20):
                await producer.send_and_wait("readings", b"%d" % number, partition=number % 2)
            await read_up_to(20, first, second)
            assert sorted(seen) == list(range(20))
        async with aiokafka_consumer(hub, "readings", "g") as later:
            committed = [await later.committed(TopicPartition("readings", index)) for index in range(2)]
            assert committed == [5, 5]
