from __future__ import annotations

import contextlib
import random
import socket
import struct
from pathlib import Path

import pytest

from infra.local.eventhubs.amqp import performatives as wire
from infra.local.eventhubs.amqp.frames import AMQP_HEADER, SASL_HEADER, frame
from infra.local.eventhubs.amqp.values import UInt
from infra.local.eventhubs.testing import RunningHub
from tests.unit.eventhubs.amqp.test_engine import SCRIPT

pytestmark = pytest.mark.integration
OPEN = frame(0, wire.write(wire.OPEN, "client", None, UInt(65536)))


def connect(hub: RunningHub) -> socket.socket:
    return socket.create_connection(("127.0.0.1", hub.amqp_port), timeout=5)


def read_to_end(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    return data


def assert_alive(hub: RunningHub) -> None:
    with connect(hub) as connection:
        connection.sendall(AMQP_HEADER)
        assert connection.recv(8) == AMQP_HEADER


def resident_bytes(hub: RunningHub) -> int:
    return int(Path(f"/proc/{hub.pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("size", [2**32 - 1, 2**31, 64 * 1024 + 1, 7, 0])
def test_an_impossible_frame_size_closes_the_connection(hub: RunningHub, size: int) -> None:
    with connect(hub) as connection:
        connection.sendall(AMQP_HEADER + OPEN + struct.pack(">IBBH", size, 2, 0, 0) + b"x" * 100)
        assert b"amqp:connection:framing-error" in read_to_end(connection)
    assert_alive(hub)


@pytest.mark.parametrize(
    "greeting",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00\x00\x00\x10kafka...", b"AMQP\x00\x00\x09\x01"],
)
def test_another_protocol_is_told_apart_and_closed(hub: RunningHub, greeting: bytes) -> None:
    with connect(hub) as connection:
        connection.sendall(greeting)
        assert read_to_end(connection) == SASL_HEADER
    assert "is this an AMQP client" in hub.stderr
    assert_alive(hub)


def test_a_browser_is_told_what_the_port_is_for(hub: RunningHub) -> None:
    with connect(hub) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"AMQP 1.0" in answer


def test_the_hub_survives_damaged_frames_and_keeps_its_memory(hub: RunningHub) -> None:
    chance = random.Random(7)
    before = resident_bytes(hub)
    whole = b"".join(frame(1, wire.write(code, *fields) + payload) for code, fields, payload in SCRIPT)
    for _ in range(300):
        frames = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            frames[chance.randrange(len(frames))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        with connect(hub) as connection:
            connection.sendall(AMQP_HEADER + OPEN + frames)
    assert_alive(hub)
    assert "could not be handled" not in hub.stderr
    assert resident_bytes(hub) - before < 50 * 1024 * 1024


def test_a_client_that_never_reads_does_not_hold_up_the_others(hub: RunningHub) -> None:
    begin = frame(1, wire.write(wire.BEGIN, None, UInt(0), UInt(100), UInt(100)))
    end = frame(1, wire.write(wire.END))
    with connect(hub) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(AMQP_HEADER + OPEN)
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            for _ in range(20_000):
                deaf.send(begin + end)
        assert_alive(hub)
