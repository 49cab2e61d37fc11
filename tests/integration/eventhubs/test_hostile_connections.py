from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from infra.local.eventhubs.kafka.apis import VERSIONS, Api
from infra.local.eventhubs.testing import RunningHub
from tests.unit.eventhubs.batches import make_batch
from tests.unit.eventhubs.test_kafka_codec import EVERY_VERSION, request_frame

pytestmark = pytest.mark.integration


def connect(hub: RunningHub) -> socket.socket:
    return socket.create_connection(("127.0.0.1", hub.port), timeout=5)


def framed(payload: bytes) -> bytes:
    return struct.pack(">i", len(payload)) + payload


def read_frame(connection: socket.socket) -> bytes:
    (length,) = struct.unpack(">i", read_exactly(connection, 4))
    return read_exactly(connection, length)


def read_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        assert piece, "the hub closed the connection"
        data += piece
    return data


def assert_closed(connection: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(1) == b""


def assert_alive(hub: RunningHub) -> None:
    with connect(hub) as connection:
        connection.sendall(framed(request_frame(Api.API_VERSIONS, 0)))
        assert read_frame(connection)[:4] == struct.pack(">i", 7)


def resident_bytes(hub: RunningHub) -> int:
    return int(Path(f"/proc/{hub.pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("length", [2**31 - 1, 32 * 1024 * 1024 + 1, 0, -1, -(2**31)])
def test_an_impossible_frame_length_closes_the_connection(hub: RunningHub, length: int) -> None:
    with connect(hub) as connection:
        connection.sendall(struct.pack(">i", length) + b"x" * 100)
        assert_closed(connection)
    assert_alive(hub)


def test_a_promised_frame_is_not_allocated_before_it_arrives(hub: RunningHub) -> None:
    before = resident_bytes(hub)
    connections = [connect(hub) for _ in range(20)]
    for connection in connections:
        connection.sendall(struct.pack(">i", 30 * 1024 * 1024) + b"x" * 100)
    assert_alive(hub)
    assert resident_bytes(hub) - before < 20 * 1024 * 1024
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(
    "greeting",
    [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"AMQP\0\1\0\0"],
)
def test_another_protocol_is_told_apart_and_closed(hub: RunningHub, greeting: bytes) -> None:
    with connect(hub) as connection:
        connection.sendall(greeting)
        assert_closed(connection)
    assert "is this a Kafka client" in hub.stderr
    assert_alive(hub)


def test_a_client_from_the_future_learns_what_is_served(hub: RunningHub) -> None:
    with connect(hub) as connection:
        connection.sendall(framed(struct.pack(">hhi", Api.API_VERSIONS, 99, 5) + b"whatever"))
        answer = read_frame(connection)
        correlation_id, error, count = struct.unpack_from(">ihi", answer)
        assert (correlation_id, error, count) == (5, 35, len(VERSIONS))
        assert len(answer) == 10 + 6 * count, "version 0: nothing after the list"
        connection.sendall(framed(request_frame(Api.API_VERSIONS, 3)))
        assert read_frame(connection)[:6] == struct.pack(">ih", 7, 0)


@pytest.mark.parametrize(("api_key", "version"), [(999, 0), (Api.PRODUCE, 13), (Api.PRODUCE, 2), (-1, -1)])
def test_an_unserved_request_closes_the_connection(hub: RunningHub, api_key: int, version: int) -> None:
    with connect(hub) as connection:
        connection.sendall(framed(struct.pack(">hhih", api_key, version, 5, -1)))
        assert_closed(connection)
    assert_alive(hub)


def test_the_hub_survives_damaged_requests(hub: RunningHub) -> None:
    chance = random.Random(7)
    frames = [request_frame(api, version) for api, version in EVERY_VERSION]
    batch = make_batch(b"v" * 50)
    frames.append(
        request_frame(
            Api.PRODUCE,
            9,
            acks=-1,
            topic_data=[{"name": "readings", "partition_data": [{"index": 0, "records": batch}]}],
        )
    )
    for _ in range(400):
        frame = bytearray(chance.choice(frames))
        for _ in range(chance.randint(1, 4)):
            frame[chance.randrange(8, len(frame))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        with connect(hub) as connection:
            connection.sendall(framed(bytes(frame)))
    assert_alive(hub)
    assert "readings" in AdminClient({"bootstrap.servers": hub.bootstrap}).list_topics(timeout=5).topics
    assert "could not be handled" not in hub.stderr


def test_a_client_that_never_reads_does_not_hold_up_the_others(hub: RunningHub) -> None:
    request = framed(request_frame(Api.METADATA, 12))
    with connect(hub) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(100_000):
                deaf.send(request)
        started = time.monotonic()
        assert_alive(hub)
        assert time.monotonic() - started < 1


def test_a_batch_with_a_wrong_checksum_is_refused_and_not_stored(hub: RunningHub) -> None:
    batch = bytearray(make_batch(b"value"))
    batch[-1] ^= 1
    with connect(hub) as connection:
        connection.sendall(
            framed(
                request_frame(
                    Api.PRODUCE,
                    3,
                    acks=-1,
                    topic_data=[{"name": "readings", "partition_data": [{"index": 3, "records": bytes(batch)}]}],
                )
            )
        )
        answer = read_frame(connection)
        index, error, offset = struct.unpack_from(">ihq", answer, 4 + 4 + 2 + len("readings") + 4)
        assert (index, error, offset) == (3, 2, -1)


def test_a_lost_write_without_acknowledgement_closes_the_connection(hub: RunningHub) -> None:
    with connect(hub) as connection:
        connection.sendall(
            framed(
                request_frame(
                    Api.PRODUCE,
                    3,
                    acks=0,
                    topic_data=[{"name": "nowhere", "partition_data": [{"index": 0, "records": make_batch(b"v")}]}],
                )
            )
        )
        assert_closed(connection)
    assert_alive(hub)
