from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError as AioKafkaError
from aiokafka.errors import MessageSizeTooLargeError
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as ConfluentTopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec

from infra.local.eventhubs.testing import RunningHub

from .clients import PRODUCERS, READERS, Event, produce_confluent, read_confluent

pytestmark = pytest.mark.integration
NewTopicFixture = Callable[[int], str]


# Without a further package aiokafka knows gzip only.
@pytest.mark.parametrize(
    ("producer", "reader", "compression"),
    [*itertools.product(PRODUCERS, READERS, ("gzip",)), ("confluent", "confluent", "lz4")],
)
async def test_what_one_client_sends_compressed_another_reads(
    hub: RunningHub, new_topic: NewTopicFixture, producer: str, reader: str, compression: str
) -> None:
    topic = new_topic(3)
    events = [
        Event(b"key-%d" % (number % 7), b"value-%d" % number, (("n", b"%d" % number), ("empty", b"")))
        for number in range(200)
    ]
    before = int(time.time() * 1000)
    await PRODUCERS[producer](hub.bootstrap, topic, events, compression)
    seen = await READERS[reader](hub.bootstrap, topic, 3, len(events))
    after = int(time.time() * 1000)
    assert sorted(each.event for each in seen) == sorted(events)
    assert all(before <= each.timestamp_ms <= after for each in seen), "the broker's append time"
    for partition in range(3):
        mine = [each for each in seen if each.partition == partition]
        assert [each.offset for each in mine] == list(range(len(mine)))


async def test_the_append_time_is_the_same_in_the_answer_in_the_record_and_in_a_search(
    hub: RunningHub, new_topic: NewTopicFixture
) -> None:
    topic = new_topic(1)
    partition = TopicPartition(topic, 0)
    sent = []
    async with AIOKafkaProducer(bootstrap_servers=hub.bootstrap) as producer:
        for number in range(5):
            sent.append(await producer.send_and_wait(topic, b"%d" % number, timestamp_ms=1_000))
            time.sleep(0.003)
    async with AIOKafkaConsumer(bootstrap_servers=hub.bootstrap) as consumer:
        consumer.assign([partition])
        await consumer.seek_to_beginning()
        records = []
        while len(records) < 5:
            records += (await consumer.getmany(timeout_ms=500)).get(partition, [])
        assert [record.timestamp for record in records] == [each.timestamp for each in sent]
        assert all(record.timestamp_type == 1 for record in records)
        for record in records:
            found = (await consumer.offsets_for_times({partition: record.timestamp}))[partition]
            assert (found.offset, found.timestamp) == (record.offset, record.timestamp)
        after_all = await consumer.offsets_for_times({partition: sent[-1].timestamp + 1})
        assert after_all[partition] is None


async def test_a_message_over_one_megabyte_is_refused(hub: RunningHub) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=hub.bootstrap, max_request_size=5_000_000)
    await producer.start()
    try:
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait("readings", b"x" * 1_100_000)
        await producer.send_and_wait("readings", b"x" * 1_000_000)
    finally:
        await producer.stop()


@pytest.mark.parametrize("acks", [0, 1, -1])
async def test_every_level_of_acknowledgement_stores(hub: RunningHub, new_topic: NewTopicFixture, acks: int) -> None:
    topic = new_topic(1)
    producer = Producer({"bootstrap.servers": hub.bootstrap, "acks": acks})
    for number in range(10):
        producer.produce(topic, b"%d" % number)
    assert producer.flush(10) == 0
    seen = await read_confluent(hub.bootstrap, topic, 1, 10)
    assert [each.event.value for each in seen] == [b"%d" % number for number in range(10)]


def test_an_unknown_topic_is_an_error_and_not_created(hub: RunningHub) -> None:
    errors: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": hub.bootstrap, "topic.metadata.propagation.max.ms": 100})
    producer.produce("nowhere", b"v", on_delivery=lambda error, _: errors.append(error))
    producer.flush(10)
    assert errors[0] is not None
    assert errors[0].code() in (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART)
    assert "nowhere" not in AdminClient({"bootstrap.servers": hub.bootstrap}).list_topics(timeout=5).topics


def test_a_reader_waits_for_the_next_event_and_gets_it_at_once(hub: RunningHub, new_topic: NewTopicFixture) -> None:
    topic = new_topic(1)
    consumer = Consumer(
        {"bootstrap.servers": hub.bootstrap, "group.id": "x", "fetch.wait.max.ms": 5000, "enable.auto.commit": False}
    )
    producer = Producer({"bootstrap.servers": hub.bootstrap, "linger.ms": 0})
    try:
        consumer.assign([ConfluentTopicPartition(topic, 0, 0)])
        assert consumer.poll(1.0) is None
        for _ in range(3):
            producer.produce(topic, b"v")
            producer.flush(5)
            sent = time.monotonic()
            message = consumer.poll(5)
            assert message is not None
            assert time.monotonic() - sent < 2
    finally:
        consumer.close()


def test_an_offset_beyond_the_end_is_out_of_range(hub: RunningHub, new_topic: NewTopicFixture) -> None:
    topic = new_topic(1)
    consumer = Consumer({"bootstrap.servers": hub.bootstrap, "group.id": "x", "auto.offset.reset": "error"})
    try:
        consumer.assign([ConfluentTopicPartition(topic, 0, 100)])
        message = consumer.poll(5)
        assert message is not None
        assert message.error().code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)
    finally:
        consumer.close()


def _code(future: Any) -> int | None:
    try:
        future.result(10)
    except KafkaException as failure:
        code: int = failure.args[0].code()
        return code
    return None


async def test_topics_are_created_grown_described_and_deleted(hub: RunningHub) -> None:
    admin = AdminClient({"bootstrap.servers": hub.bootstrap})
    config = {"cleanup.policy": "compact", "retention.ms": "1000"}
    assert _code(admin.create_topics([NewTopic("t", 2, config=config)])["t"]) is None
    assert _code(admin.create_topics([NewTopic("t", 2)])["t"]) == KafkaError.TOPIC_ALREADY_EXISTS
    assert _code(admin.create_topics([NewTopic("a/b", 2)])["a/b"]) == KafkaError.TOPIC_EXCEPTION
    assert _code(admin.create_topics([NewTopic("u", 33)])["u"]) == KafkaError.INVALID_PARTITIONS
    assert _code(admin.create_topics([NewTopic("u", 2)], validate_only=True)["u"]) is None
    assert set(admin.list_topics(timeout=5).topics) >= {"t", "readings"}
    assert "u" not in admin.list_topics(timeout=5).topics

    resource = ConfigResource(ConfigResource.Type.TOPIC, "t")
    described = admin.describe_configs([resource])[resource].result(10)
    assert described["cleanup.policy"].value == "compact"
    assert described["message.timestamp.type"].value == "LogAppendTime"

    assert _code(admin.create_partitions([NewPartitions("t", 4)])["t"]) is None
    assert _code(admin.create_partitions([NewPartitions("t", 3)])["t"]) == KafkaError.INVALID_PARTITIONS
    assert len(admin.list_topics("t", timeout=5).topics["t"].partitions) == 4

    await produce_confluent(hub.bootstrap, "t", [Event(b"key", b"old")], None)
    assert _code(admin.delete_topics(["t"])["t"]) is None
    assert _code(admin.delete_topics(["t"])["t"]) == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert _code(admin.create_topics([NewTopic("t", 1)])["t"]) is None
    spec = {ConfluentTopicPartition("t", 0): OffsetSpec.latest()}
    latest = admin.list_offsets(spec)[ConfluentTopicPartition("t", 0)].result(10)
    assert latest.offset == 0, "a topic of the same name begins anew"


def test_the_cluster_describes_itself(hub: RunningHub) -> None:
    admin = AdminClient({"bootstrap.servers": hub.bootstrap})
    cluster = admin.describe_cluster().result(10)
    assert [(node.host, node.port) for node in cluster.nodes] == [("127.0.0.1", hub.port)]
    assert cluster.controller.id == cluster.nodes[0].id


CONNECTION_STRING = (
    "Endpoint=sb://localhost;SharedAccessKeyName=RootManageSharedAccessKey;"
    "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"
)


@pytest.mark.parametrize(
    ("user", "password", "accepted"),
    [
        ("$ConnectionString", CONNECTION_STRING, True),
        ("$ConnectionString", CONNECTION_STRING.replace("SAS_KEY_VALUE", "wrong"), False),
        ("$ConnectionString", CONNECTION_STRING.replace("RootManage", "Other"), False),
        ("$ConnectionString", "no connection string", False),
        ("someone", CONNECTION_STRING, False),
    ],
)
async def test_sasl_plain_takes_a_connection_string_with_a_key_of_the_namespace(
    hub: RunningHub, user: str, password: str, accepted: bool
) -> None:
    admin = AdminClient(
        {
            "bootstrap.servers": hub.bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
            "sasl.password": password,
            "log_level": 0,
        }
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=hub.bootstrap,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username=user,
        sasl_plain_password=password,
    )
    if accepted:
        assert "readings" in admin.list_topics(timeout=5).topics
        await producer.start()
    else:
        with pytest.raises(KafkaException):
            admin.list_topics(timeout=1)
        with pytest.raises(AioKafkaError):
            await producer.start()
    await producer.stop()


def test_transactions_are_refused_and_not_waited_for(hub: RunningHub) -> None:
    producer = Producer({"bootstrap.servers": hub.bootstrap, "transactional.id": "t"})
    started = time.monotonic()
    with pytest.raises(KafkaException):
        producer.init_transactions(10)
    assert time.monotonic() - started < 5
