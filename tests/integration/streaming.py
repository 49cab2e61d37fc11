"""Stream workers as processes for integration tests."""

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiokafka
import numpy as np
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from crc32c import crc32c

from infra.azure.blobs import AzureBlobs
from models import names
from models.ports import BlobStore
from models.tables import decode_batch
from models.windowspec import WindowSpec
from stream.config import StreamConfig
from stream.decode import Chunk
from stream.partition import Partition
from tests.fakes import FakeBlobs, FakeClock, FakeQueue

ROOT = Path(__file__).resolve().parents[2]
WindowKey = tuple[str, str, int]
PARTITIONS = 4


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class StreamWorker:
    """`python -m infra.wiring.stream` with its web view; `settings` are names of infra.settings."""

    def __init__(self, folder: Path, hub: str, bootstrap: str, connection_string: str, **settings: object) -> None:
        self.port = free_port()
        self.log = folder / f"stream-{self.port}.log"
        self._environment = {
            **os.environ,
            "DataStorage": connection_string,
            "PENSTOCK_HUB": hub,
            "PENSTOCK_RATINGS_HUB": "",
            "PENSTOCK_STATE_PATH": str(folder / "state.sqlite"),
            "PENSTOCK_KAFKA_BOOTSTRAP": bootstrap,
            "PENSTOCK_STREAM_WEB_PORT": str(self.port),
            "PENSTOCK_STREAM_DIR": str(folder / f"stream-{self.port}"),
            "PENSTOCK_CHECKPOINT_INTERVAL_S": "0.5",
            "PENSTOCK_GROUP_SESSION_S": "3",
            **{f"PENSTOCK_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "infra.wiring.stream"],
                env=self._environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def get(self, page: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/penstock/{page}/", timeout=5) as answer:
            return json.load(answer)

    def answers(self, page: str) -> bool:
        """Whether a page is there and says that all is well."""
        try:
            self.get(page)
        except OSError:
            return False
        return True

    def partitions(self) -> dict[str, dict[str, Any]]:
        """The status page's partitions; none while the worker is down."""
        try:
            return dict(self.get("status")["partitions"])
        except (OSError, urllib.error.URLError):
            return {}

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


async def _produce(bootstrap: str, hub: str, events: Iterable[tuple[str, bytes]]) -> None:
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=2)
    await producer.start()
    try:
        for device, body in events:
            await producer.send(hub, body, key=device.encode())
        await producer.flush()
    finally:
        await producer.stop()


def produce(bootstrap: str, hub: str, events: Iterable[tuple[str, bytes]]) -> None:
    """Send (device, body) events, each device to one partition."""
    asyncio.run(_produce(bootstrap, hub, events))


def device_events(
    devices: int, minutes: int, *, start_s: float = 1.6e9, per_event: int = 10
) -> list[tuple[str, bytes]]:
    """Readings of 2 sensors every 2 s, packed, in time order, closed by flush markers."""
    rng = np.random.default_rng(devices * 1000 + minutes)
    events = []
    for block in range(minutes * 30 // per_event):
        for device in range(devices):
            readings = [
                {
                    "device": f"device-{device}",
                    "sensor": f"s{k % 2}",
                    "ts": start_s + (block * per_event + k // 2) * 2,
                    "value": round(float(rng.normal(10, 1)), 3),
                }
                for k in range(per_event * 2)
            ]
            events.append((f"device-{device}", json.dumps(readings).encode()))
    flush = [(f"device-{d}", json.dumps({"device": f"device-{d}", "flush": True}).encode()) for d in range(devices)]
    return events + flush


async def _read_log(bootstrap: str, hub: str) -> dict[int, Chunk]:
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [aiokafka.TopicPartition(hub, p) for p in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        records: dict[Any, list[Any]] = {tp: [] for tp in partitions}
        while any(len(records[tp]) < ends[tp] for tp in partitions):
            for tp, batch in (await consumer.getmany(timeout_ms=500)).items():
                records[tp] += batch
        return {
            tp.partition: Chunk(
                np.array([r.offset for r in batch], dtype=np.int64),
                np.array([r.timestamp * 1000 for r in batch], dtype=np.int64),
                [r.value for r in batch],
            )
            for tp, batch in records.items()
            if batch
        }
    finally:
        await consumer.stop()


def expected_windows(bootstrap: str, hub: str, spec: WindowSpec) -> dict[WindowKey, bytes]:
    """What an undisturbed run makes of the hub's log: one partition at a time, in memory."""
    found: dict[WindowKey, bytes] = {}
    for number, chunk in asyncio.run(_read_log(bootstrap, hub)).items():
        blobs = FakeBlobs()
        partition = Partition(StreamConfig(hub, spec), number, blobs, FakeQueue(), FakeClock())
        partition.restore()
        partition.process(chunk)
        partition.hand_over()
        found |= stored_windows(blobs, hub, spec, [number])
    return found


def stored_windows(
    blobs: BlobStore, hub: str, spec: WindowSpec, partitions: Iterable[int] = range(PARTITIONS)
) -> dict[WindowKey, bytes]:
    """All windows in batches with their features; fails if one was written twice."""
    found: dict[WindowKey, bytes] = {}
    for partition in partitions:
        for info in list(blobs.list(names.batch_prefix(hub, spec, partition))):
            windows = decode_batch(blobs.get(info.name).data).windows
            for i in range(len(windows)):
                key = (windows.device[i], windows.sensor[i], int(windows.start_us[i]))
                assert key not in found, f"window {key} was written twice"
                found[key] = windows.features[i].tobytes() + bytes([int(windows.count[i])])
    return found


def wait_until_stored(
    workers: list[StreamWorker], blobs: AzureBlobs, hub: str, ends: dict[int, int], timeout_s: float = 60
) -> None:
    """Until every partition's checkpoint is at its end."""
    deadline = time.monotonic() + timeout_s
    spec = WindowSpec(60, 60)
    while time.monotonic() < deadline:
        infos = {p: blobs.head(names.checkpoint_blob(hub, spec, p)) for p in ends}
        if all(info and int(info.metadata["offset"]) >= ends[p] for p, info in infos.items()):
            return
        time.sleep(0.2)
    views = "\n".join(f"{worker.partitions()}\n{worker.log.read_text()[-3000:]}" for worker in workers)
    raise AssertionError(f"the stream did not catch up with {ends} within {timeout_s} s\n{views}")


def end_offsets(bootstrap: str, hub: str) -> dict[int, int]:
    """Events per partition."""
    return {number: len(chunk) for number, chunk in asyncio.run(_read_log(bootstrap, hub)).items()}


def produce_rubbish_batch(bootstrap: str, hub: str, partition: int, payload: bytes, attributes: int) -> None:
    """Send a record batch with a right checksum and three records that are not there; `attributes` names a codec."""

    async def send() -> None:
        now_ms, records = round(time.time() * 1000), 3
        checked = struct.pack(">hiqqqhii", attributes, records - 1, now_ms, now_ms, -1, -1, -1, records) + payload
        body = struct.pack(">ibI", 0, 2, crc32c(checked)) + checked
        batch = struct.pack(">qi", 0, len(body)) + body
        request = ProduceRequest(
            transactional_id=None, required_acks=-1, timeout=10_000, topics=[(hub, [(partition, batch)])]
        )
        client = AIOKafkaClient(bootstrap_servers=bootstrap)
        await client.bootstrap()
        try:
            answer = await client.send(next(iter(client.cluster.brokers())).nodeId, request)
            assert answer.topics[0][1][0][1] == 0, answer
        finally:
            await client.close()

    asyncio.run(send())
