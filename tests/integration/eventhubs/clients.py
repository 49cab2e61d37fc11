"""The same few things done with each client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer
from confluent_kafka import TopicPartition as ConfluentTopicPartition
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPythonPartition

READ_TIMEOUT_S = 20.0


class Event(NamedTuple):
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Seen(NamedTuple):
    partition: int
    offset: int
    timestamp_ms: int
    event: Event


async def produce_aiokafka(bootstrap: str, topic: str, events: list[Event], compression: str | None) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type=compression, enable_idempotence=True
    ) as producer:
        sent = [await producer.send(topic, each.value, key=each.key, headers=list(each.headers)) for each in events]
        for future in sent:
            await future


async def produce_confluent(bootstrap: str, topic: str, events: list[Event], compression: str | None) -> None:
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            errors.append(error)

    producer = Producer(
        {"bootstrap.servers": bootstrap, "compression.type": compression or "none", "enable.idempotence": True}
    )
    for each in events:
        producer.produce(topic, each.value, key=each.key, headers=list(each.headers), on_delivery=delivered)
    assert producer.flush(READ_TIMEOUT_S) == 0
    assert not errors


async def read_aiokafka(bootstrap: str, topic: str, partitions: int, count: int, last: bytes = b"\0") -> list[Seen]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        assigned = [TopicPartition(topic, index) for index in range(partitions)]
        consumer.assign(assigned)
        await consumer.seek_to_beginning()
        seen: list[Seen] = []
        deadline = time.monotonic() + READ_TIMEOUT_S
        while len(seen) < count and time.monotonic() < deadline and not (seen and seen[-1].event.value == last):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                seen += [
                    Seen(r.partition, r.offset, r.timestamp, Event(r.key, r.value, tuple(r.headers))) for r in records
                ]
        return seen
    finally:
        await consumer.stop()


async def read_confluent(bootstrap: str, topic: str, partitions: int, count: int, last: bytes = b"\0") -> list[Seen]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False})
    try:
        consumer.assign([ConfluentTopicPartition(topic, index, OFFSET_BEGINNING) for index in range(partitions)])
        seen: list[Seen] = []
        deadline = time.monotonic() + READ_TIMEOUT_S
        while len(seen) < count and time.monotonic() < deadline and not (seen and seen[-1].event.value == last):
            for m in consumer.consume(10_000, 0.2):
                assert m.error() is None
                event = Event(m.key(), m.value() or b"", tuple(m.headers() or ()))
                seen.append(Seen(m.partition(), m.offset(), m.timestamp()[1], event))
        return seen
    finally:
        consumer.close()


async def produce_kafka_python(bootstrap: str, topic: str, events: list[Event], compression: str | None) -> None:
    await asyncio.to_thread(_produce_kafka_python, bootstrap, topic, events, compression)


def _produce_kafka_python(bootstrap: str, topic: str, events: list[Event], compression: str | None) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=compression, enable_idempotence=True)
    try:
        sent = [producer.send(topic, each.value, key=each.key, headers=list(each.headers)) for each in events]
        for future in sent:
            future.get(READ_TIMEOUT_S)
    finally:
        producer.close()


async def read_kafka_python(
    bootstrap: str, topic: str, partitions: int, count: int, last: bytes = b"\0"
) -> list[Seen]:
    return await asyncio.to_thread(_read_kafka_python, bootstrap, topic, partitions, count, last)


def _read_kafka_python(bootstrap: str, topic: str, partitions: int, count: int, last: bytes) -> list[Seen]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    try:
        consumer.assign([KafkaPythonPartition(topic, index) for index in range(partitions)])
        consumer.seek_to_beginning()
        seen: list[Seen] = []
        deadline = time.monotonic() + READ_TIMEOUT_S
        while len(seen) < count and time.monotonic() < deadline and not (seen and seen[-1].event.value == last):
            for records in consumer.poll(timeout_ms=200).values():
                seen += [
                    Seen(r.partition, r.offset, r.timestamp, Event(r.key, r.value, tuple(r.headers))) for r in records
                ]
        return seen
    finally:
        consumer.close()


Produce = Callable[[str, str, list[Event], str | None], Awaitable[None]]
Read = Callable[..., Awaitable[list[Seen]]]

PRODUCERS: dict[str, Produce] = {
    "aiokafka": produce_aiokafka,
    "confluent": produce_confluent,
    "kafka-python": produce_kafka_python,
}
READERS: dict[str, Read] = {
    "aiokafka": read_aiokafka,
    "confluent": read_confluent,
    "kafka-python": read_kafka_python,
}
