from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
)

from infra.local.eventhubs.testing import RunningHub, running_hub

from .clients import READERS, Event, read_confluent

pytestmark = pytest.mark.integration
NewTopicFixture = Callable[[int], str]


@pytest.fixture
def admin(hub: RunningHub) -> AdminClient:
    return AdminClient({"bootstrap.servers": hub.bootstrap})


def configs_of(admin: AdminClient, topic: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    described = admin.describe_configs([resource])[resource].result(10)
    return {name: entry.value for name, entry in described.items()}


def error_code(call: Callable[[], object]) -> int | None:
    try:
        call()
    except KafkaException as failure:
        code: int = failure.args[0].code()
        return code
    return None


def produce_singly(hub: RunningHub, topic: str, events: list[Event]) -> None:
    """A batch for each event."""
    producer = Producer({"bootstrap.servers": hub.bootstrap, "batch.num.messages": 1, "linger.ms": 0})
    for each in events:
        producer.produce(topic, each.value, key=each.key)
    assert producer.flush(10) == 0


def change(name: str, value: str | None, operation: AlterConfigOpType) -> ConfigEntry:
    return ConfigEntry(name, value, incremental_operation=operation)


def test_settings_are_changed_one_by_one(hub: RunningHub, new_topic: NewTopicFixture, admin: AdminClient) -> None:
    topic = new_topic(1)

    def alter(*changes: ConfigEntry) -> int | None:
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=list(changes))
        return error_code(lambda: admin.incremental_alter_configs([resource])[resource].result(10))

    default = configs_of(admin, topic)["retention.ms"]
    assert alter(change("retention.ms", "60000", AlterConfigOpType.SET)) is None
    assert alter(change("cleanup.policy", "compact", AlterConfigOpType.APPEND)) is None
    changed = configs_of(admin, topic)
    assert (changed["retention.ms"], changed["cleanup.policy"]) == ("60000", "delete,compact")
    assert alter(change("retention.ms", None, AlterConfigOpType.DELETE)) is None
    assert configs_of(admin, topic)["retention.ms"] == default
    assert alter(change("retention.ms", "soon", AlterConfigOpType.SET)) == KafkaError.INVALID_CONFIG
    assert alter(change("no.such.setting", "1", AlterConfigOpType.SET)) == KafkaError.INVALID_CONFIG
    assert alter(change("retention.ms", "1", AlterConfigOpType.APPEND)) == KafkaError.INVALID_CONFIG


def test_replacing_all_settings_resets_what_is_not_named(
    hub: RunningHub, new_topic: NewTopicFixture, admin: AdminClient
) -> None:
    topic = new_topic(1)
    for settings in ({"retention.ms": "60000"}, {"segment.bytes": "5000"}):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, set_config=settings)
        with pytest.warns(DeprecationWarning, match="incremental_alter_configs"):
            admin.alter_configs([resource])[resource].result(10)
    assert configs_of(admin, topic)["segment.bytes"] == "5000"
    assert configs_of(admin, topic)["retention.ms"] != "60000"


async def test_a_changed_message_limit_holds_at_once(
    hub: RunningHub, new_topic: NewTopicFixture, admin: AdminClient
) -> None:
    topic = new_topic(1)
    entry = change("max.message.bytes", "2000", AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(10)
    errors: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": hub.bootstrap})
    for size in (3000, 1000):
        producer.produce(topic, b"x" * size, on_delivery=lambda error, _: errors.append(error))
        producer.flush(10)
    assert errors[0] is not None
    assert (errors[0].code(), errors[1]) == (KafkaError.MSG_SIZE_TOO_LARGE, None)


async def test_deleted_records_are_gone(hub: RunningHub, new_topic: NewTopicFixture, admin: AdminClient) -> None:
    topic = new_topic(1)
    produce_singly(hub, topic, [Event(None, b"%d" % number) for number in range(10)])

    def delete_before(offset: int) -> int:
        asked = TopicPartition(topic, 0, offset)
        return int(admin.delete_records([asked])[asked].result(10).low_watermark)

    assert delete_before(4) == 4
    seen = await read_confluent(hub.bootstrap, topic, 1, 6)
    assert [each.offset for each in seen] == [4, 5, 6, 7, 8, 9]
    earliest = {TopicPartition(topic, 0): OffsetSpec.earliest()}
    assert admin.list_offsets(earliest)[TopicPartition(topic, 0)].result(10).offset == 4
    assert error_code(lambda: delete_before(11)) == KafkaError.OFFSET_OUT_OF_RANGE
    assert delete_before(-1) == 10


def test_groups_and_their_offsets_are_deleted_unless_someone_reads(
    hub: RunningHub, new_topic: NewTopicFixture, admin: AdminClient
) -> None:
    topic = new_topic(2)
    group = f"group-of-{topic}"
    consumer = Consumer({"bootstrap.servers": hub.bootstrap, "group.id": group, "session.timeout.ms": 6000})
    consumer.subscribe([topic])
    deadline = time.monotonic() + 10
    while not consumer.assignment() and time.monotonic() < deadline:
        consumer.poll(0.1)
    consumer.commit(offsets=[TopicPartition(topic, index, 3) for index in range(2)], asynchronous=False)
    assert error_code(lambda: admin.delete_consumer_groups([group])[group].result(10)) == KafkaError.NON_EMPTY_GROUP
    consumer.close()
    assert admin.delete_consumer_groups([group])[group].result(10) is None
    assert (
        error_code(lambda: admin.delete_consumer_groups([group])[group].result(10)) == KafkaError.GROUP_ID_NOT_FOUND
    )
    again = Consumer({"bootstrap.servers": hub.bootstrap, "group.id": group})
    assert [each.offset for each in again.committed([TopicPartition(topic, 0)], 10)] == [-1001]
    again.close()


async def test_a_compacted_topic_is_compacted_for_every_client(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data", retention_check_s=0.2, compaction_bytes=1000) as hub:
        admin = AdminClient({"bootstrap.servers": hub.bootstrap})
        admin.create_topics([NewTopic("table", 1, config={"cleanup.policy": "compact"})])["table"].result(10)
        produce_singly(hub, "table", [Event(b"k%d" % (number % 3), b"%d" % number) for number in range(100)])
        deadline = time.monotonic() + 10
        while "bytes freed" not in hub.stderr and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        produce_singly(hub, "table", [Event(b"end", b"end")])
        for read in READERS.values():
            seen = {}
            for each in await read(hub.bootstrap, "table", 1, 1000, b"end"):
                seen[each.event.key] = (each.offset, each.event.value)
            assert seen == {
                b"k0": (99, b"99"),
                b"k1": (97, b"97"),
                b"k2": (98, b"98"),
                b"end": (100, b"end"),
            }
