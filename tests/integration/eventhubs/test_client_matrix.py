"""Every client reads what every client sent: the same bodies, keys and properties at the same places.

Each producer writes once into one topic, each consumer reads all of it once, at the same time; the tests compare.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, EventHubProducerClient

from infra.local.eventhubs.testing import RunningHub, running_hub
from tests.integration.eventhubs.amqp.sdk import Listening, amqp_value, consumer, producer
from tests.integration.eventhubs.clients import PRODUCERS, READERS, Event

pytestmark = pytest.mark.integration
TOPIC, PARTITIONS, WAIT_S = "matrix", 4, 60.0
KAFKA = ("aiokafka", "confluent", "kafka-python")
AMQP = ("azure-eventhub", "azure-eventhub-aio")
KCAT = shutil.which("kcat")
without_kcat = pytest.mark.skipif(KCAT is None, reason="kcat is not installed (Debian: apt-get install kcat)")
CLIENTS = [*KAFKA, "faust", pytest.param("kcat", marks=without_kcat), *AMQP]
NAMES = [*KAFKA, "faust", *(["kcat"] if KCAT else []), *AMQP]


class Row(NamedTuple):
    """An event as a consumer sees it, whatever its protocol. `origin` is its one property."""

    partition: int
    offset: int
    key: bytes | None
    body: bytes
    origin: bytes


def events_of(name: str) -> list[tuple[str, str]]:
    """(key, body) of what a producer sends."""
    return [(f"key-{number % 5}", f"{name} {number} é") for number in range(20)]


async def send_with_kafka(hub: RunningHub, name: str) -> None:
    headers = (("origin", name.encode()),)
    events = [Event(key.encode(), body.encode(), headers) for key, body in events_of(name)]
    await PRODUCERS[name](hub.bootstrap, TOPIC, events, None)


async def send_with_kcat(hub: RunningHub) -> None:
    lines = "".join(f"{key}:{body}\n" for key, body in events_of("kcat")).encode()
    await kcat(hub, "-P", "-t", TOPIC, "-K", ":", "-H", "origin=kcat", stdin=lines)


def amqp_batches(name: str) -> Iterator[tuple[str, list[EventData]]]:
    for key in sorted({key for key, _ in events_of(name)}):
        batch = [EventData(body) for each, body in events_of(name) if each == key]
        for event in batch:
            event.properties = {"origin": name}
        yield key, batch


def send_with_azure(hub: RunningHub) -> None:
    with producer(hub, TOPIC) as client:
        for key, batch in amqp_batches("azure-eventhub"):
            client.send_batch(batch, partition_key=key)


async def send_with_azure_aio(hub: RunningHub) -> None:
    async with EventHubProducerClient.from_connection_string(hub.connection_string, eventhub_name=TOPIC) as client:
        for key, batch in amqp_batches("azure-eventhub-aio"):
            await client.send_batch(batch, partition_key=key)


def from_kafka(partition: int, offset: int, key: bytes | None, body: bytes, headers: list[tuple[str, bytes]]) -> Row:
    """What AMQP wrote has its sections as the first header, and its properties AMQP-encoded."""
    origin = dict(headers)["origin"]
    if headers[0][0] == "amqp":
        decoded = amqp_value(origin)
        assert isinstance(decoded, bytes)
        origin = decoded
    return Row(partition, offset, key, body, origin)


async def read_with_kafka(hub: RunningHub, name: str, count: int) -> list[Row]:
    seen = await READERS[name](hub.bootstrap, TOPIC, PARTITIONS, count)
    return [
        from_kafka(each.partition, each.offset, each.event.key, each.event.value, list(each.event.headers))
        for each in seen
    ]


async def read_with_kcat(hub: RunningHub) -> list[Row]:
    end = b"--end--"
    out = await kcat(hub, "-C", "-t", TOPIC, "-o", "beginning", "-e", "-q", "-f", "%p %o %K %S %k%s%h--end--")
    rows = []
    for message in out.split(end)[:-1]:
        partition, offset, key_size, size, rest = message.split(b" ", 4)
        key, body = rest[: int(key_size)], rest[int(key_size) : int(key_size) + int(size)]
        listed = rest[int(key_size) + int(size) :]
        before, _, origin = listed.rpartition(b"origin=")
        headers = [("amqp", b"")] if before.startswith(b"amqp=") else []
        rows.append(from_kafka(int(partition), int(offset), key, body, [*headers, ("origin", origin)]))
    return rows


async def kcat(hub: RunningHub, *arguments: str, stdin: bytes = b"") -> bytes:
    process = await asyncio.create_subprocess_exec(
        "kcat", "-b", hub.bootstrap, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(stdin), WAIT_S)
    assert process.returncode == 0
    return out


def from_amqp(partition: str, event: EventData) -> Row:
    assert event.offset is not None
    properties: dict[Any, Any] = event.properties or {}
    return Row(int(partition), int(event.offset), event.partition_key, b"".join(event.body), properties[b"origin"])


def read_with_azure(hub: RunningHub, count: int) -> list[Row]:
    with Listening(consumer(hub, TOPIC), batched=True, starting_position="-1") as listening:
        assert listening.wait_for(lambda: len(listening.events) >= count, WAIT_S), listening.errors
        return [from_amqp(partition, event) for partition, event in listening.placed]


async def read_with_azure_aio(hub: RunningHub, count: int) -> list[Row]:
    rows: list[Row] = []
    done = asyncio.Event()

    async def seen(context: Any, event: EventData | None) -> None:
        assert event is not None
        rows.append(from_amqp(context.partition_id, event))
        if len(rows) == count:
            done.set()

    client = EventHubConsumerClient.from_connection_string(hub.connection_string, "$Default", eventhub_name=TOPIC)
    async with client:
        receiving = asyncio.create_task(client.receive(seen, starting_position="-1"))
        await asyncio.wait_for(done.wait(), WAIT_S)
        receiving.cancel()  # else it sleeps until the partitions would be balanced again
    await asyncio.gather(receiving, return_exceptions=True)
    return rows


class FaustApp:
    """The app of `faust_client.py`: it sends its events at once and reads from the beginning."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._rows: list[Row] = []

    @classmethod
    async def start(cls, hub: RunningHub, count: int) -> FaustApp:
        script = str(Path(__file__).with_name("faust_client.py"))
        app = cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, script, hub.bootstrap, TOPIC, str(count)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        assert app._process.stdin is not None
        app._process.stdin.write("".join(json.dumps(event) + "\n" for event in events_of("faust")).encode())
        app._process.stdin.close()
        return app

    async def until_sent(self) -> None:
        while (line := await self._line()) != b"sent\n":
            self._note(line)

    async def read(self) -> list[Row]:
        while line := await self._line():
            self._note(line)
        assert await self._process.wait() == 0
        return self._rows

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        return await asyncio.wait_for(self._process.stdout.readline(), WAIT_S)

    def _note(self, line: bytes) -> None:
        assert line, "the Faust app ended"
        partition, offset, key, body, headers = json.loads(line)
        told = [(name, bytes.fromhex(value)) for name, value in headers]
        self._rows.append(from_kafka(partition, offset, bytes.fromhex(key), bytes.fromhex(body), told))

    async def end(self) -> None:
        """Kill what a failed test left running."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()


async def run_all(hub: RunningHub) -> dict[str, list[Row]]:
    """What each consumer has read."""
    count = len(NAMES) * len(events_of(""))
    faust = await FaustApp.start(hub, count)
    try:
        await asyncio.gather(
            *(send_with_kafka(hub, name) for name in KAFKA),
            *([send_with_kcat(hub)] if KCAT else []),
            asyncio.to_thread(send_with_azure, hub),
            send_with_azure_aio(hub),
            faust.until_sent(),
        )
        kcat_read = [read_with_kcat(hub)] if KCAT else []
        found = await asyncio.gather(
            *(read_with_kafka(hub, name, count) for name in KAFKA),
            faust.read(),
            *kcat_read,
            asyncio.to_thread(read_with_azure, hub, count),
            read_with_azure_aio(hub, count),
        )
    finally:
        await faust.end()
    return dict(zip(NAMES, found, strict=True))


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Row]]:
    with running_hub(tmp_path_factory.mktemp("matrix") / "hub", {TOPIC: PARTITIONS}) as hub:
        return asyncio.run(run_all(hub))


@pytest.mark.parametrize("sender", CLIENTS)
@pytest.mark.parametrize("reader", CLIENTS)
def test_a_client_reads_what_another_sent(read: dict[str, list[Row]], sender: str, reader: str) -> None:
    mine = [row for row in read[reader] if row.body.startswith(f"{sender} ".encode())]
    assert sorted((row.key, row.body) for row in mine) == sorted(
        (key.encode(), body.encode()) for key, body in events_of(sender)
    )
    assert {row.origin for row in mine} == {sender.encode()}


@pytest.mark.parametrize("reader", CLIENTS)
def test_every_client_sees_one_log_in_one_order(read: dict[str, list[Row]], reader: str) -> None:
    for partition in range(PARTITIONS):
        assert [row for row in read[reader] if row.partition == partition] == [
            row for row in read["confluent"] if row.partition == partition
        ]
