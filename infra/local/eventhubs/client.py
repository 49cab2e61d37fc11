"""The commands that ask a running hub, as an ordinary Kafka client of it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import operator
import os
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from .cli import CONNECTION_VARIABLE

_FAILED = 1


def run(options: argparse.Namespace) -> int:
    """Run the command; 1 with a message when the hub refuses or cannot be reached."""
    commands = {
        "hubs": _hubs,
        "groups": _groups,
        "lag": _lag,
        "tail": _tail,
        "reset-offsets": _reset,
        "produce": _produce,
    }
    try:
        asyncio.run(commands[options.command](options))
    except (KafkaError, OSError, ValueError) as error:
        print(f"eventhubs: {options.command}: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        pass
    return 0


def _connection(options: argparse.Namespace) -> dict[str, Any]:
    settings: dict[str, Any] = {"bootstrap_servers": options.bootstrap}
    password = os.environ.get(CONNECTION_VARIABLE)
    if options.tls_ca is not None:
        settings["ssl_context"] = ssl.create_default_context(cafile=options.tls_ca)
    protocol = "SSL" if options.tls_ca is not None else "PLAINTEXT"
    if password:
        settings |= {
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": "$ConnectionString",
            "sasl_plain_password": password,
        }
        protocol = f"SASL_{protocol}"
    return settings | {"security_protocol": protocol}


@contextlib.asynccontextmanager
async def _consumer(options: argparse.Namespace, **settings: Any) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(**_connection(options), enable_auto_commit=False, **settings)
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


@contextlib.asynccontextmanager
async def _admin(options: argparse.Namespace) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(**_connection(options))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _all_partitions(options: argparse.Namespace) -> dict[str, list[TopicPartition]]:
    async with _admin(options) as admin:
        topics = await admin.describe_topics()
    return {
        topic["topic"]: [TopicPartition(topic["topic"], index) for index in range(len(topic["partitions"]))]
        for topic in sorted(topics, key=operator.itemgetter("topic"))
    }


async def _partitions(options: argparse.Namespace) -> list[TopicPartition]:
    partitions = (await _all_partitions(options)).get(options.hub)
    if partitions is None:
        raise ValueError(f"there is no hub {options.hub!r}")
    return partitions


async def _hubs(options: argparse.Namespace) -> None:
    rows = []
    async with _consumer(options) as consumer:
        for hub, partitions in (await _all_partitions(options)).items():
            starts, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            rows += [(hub, at.partition, starts[at], ends[at], ends[at] - starts[at]) for at in partitions]
    _print_table(("HUB", "PARTITION", "FIRST", "NEXT", "EVENTS"), rows)


async def _groups(options: argparse.Namespace) -> None:
    async with _admin(options) as admin:
        names = sorted(name for name, *_ in await admin.list_consumer_groups())
        rows = []
        for response in await admin.describe_consumer_groups(names) if names else ():
            rows += [(group[1], group[2], len(group[5])) for group in response.groups]
    _print_table(("GROUP", "STATE", "MEMBERS"), sorted(rows))


async def _lag(options: argparse.Namespace) -> None:
    rows = []
    async with _admin(options) as admin, _consumer(options) as consumer:
        names = [options.group] if options.group else sorted(name for name, *_ in await admin.list_consumer_groups())
        for name in names:
            committed = await admin.list_consumer_group_offsets(name)
            ends = await consumer.end_offsets(list(committed)) if committed else {}
            rows += [
                (name, where.topic, where.partition, offset.offset, max(0, ends[where] - offset.offset))
                for where, offset in sorted(committed.items())
            ]
    _print_table(("GROUP", "HUB", "PARTITION", "COMMITTED", "LAG"), rows)


async def _tail(options: argparse.Namespace) -> None:
    async with _consumer(options, auto_offset_reset=options.start) as consumer:
        partitions = await _partitions(options)
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        if options.start == "earliest":
            await consumer.seek_to_beginning()
        else:
            await consumer.seek_to_end()
        left = options.count
        while left != 0 and not (options.until_end and await _arrived(consumer, ends)):
            for records in (await consumer.getmany(timeout_ms=200, max_records=left)).values():
                for record in records:
                    print(json.dumps(_fields(record)), flush=True)
                    left = None if left is None else left - 1


async def _arrived(consumer: Any, ends: dict[TopicPartition, int]) -> bool:
    return all([await consumer.position(partition) >= end for partition, end in ends.items()])


def _fields(record: Any) -> dict[str, Any]:
    time = datetime.datetime.fromtimestamp(record.timestamp / 1000, tz=datetime.UTC)
    return {
        "partition": record.partition,
        "offset": record.offset,
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": {name: _text(value) for name, value in record.headers},
    }


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")


async def _reset(options: argparse.Namespace) -> None:
    async with _admin(options) as admin:
        for response in await admin.describe_consumer_groups([options.group]):
            if any(group[5] for group in response.groups):
                raise ValueError(f"group {options.group!r} has members: stop them first")
    async with _consumer(options, group_id=options.group) as consumer:
        partitions = await _partitions(options)
        consumer.assign(partitions)
        targets = await _targets(consumer, partitions, options.to)
        await consumer.commit({where: OffsetAndMetadata(offset, "") for where, offset in targets.items()})
    rows = [(options.group, where.topic, where.partition, offset) for where, offset in sorted(targets.items())]
    _print_table(("GROUP", "HUB", "PARTITION", "COMMITTED"), rows)


async def _targets(consumer: Any, partitions: list[TopicPartition], to: str) -> dict[TopicPartition, int]:
    starts, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    if to == "earliest":
        return dict(starts)
    if to == "latest":
        return dict(ends)
    if to.isdecimal():
        return {each: min(max(int(to), starts[each]), ends[each]) for each in partitions}
    try:
        time = datetime.datetime.fromisoformat(to)
    except ValueError:
        raise ValueError(f"--to takes earliest, latest, an offset, or a time, not {to!r}") from None
    if time.tzinfo is None:
        raise ValueError(f"{to}: say in which time zone, for example by a Z at the end")
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, int(time.timestamp() * 1000)))
    return {each: ends[each] if found[each] is None else found[each].offset for each in partitions}


async def _produce(options: argparse.Namespace) -> None:
    producer = AIOKafkaProducer(**_connection(options), enable_idempotence=True)
    key = options.key.encode() if options.key is not None else None
    try:
        await producer.start()
        sent = []
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            sent.append(await producer.send(options.hub, line.rstrip(b"\r\n"), key=key))
        for each in sent:
            await each
    finally:
        await producer.stop()


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = [list(heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
