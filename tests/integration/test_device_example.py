"""`examples/device` against a hub that dies meanwhile, and killed itself."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from infra.local.eventhubs.testing import RunningHub, running_hub
from models.windowspec import WindowSpec
from tests.integration.eventhubs.clients import read_confluent
from tests.integration.streaming import expected_windows, produce
from tests.waiting import wait_for

pytestmark = pytest.mark.integration
DEVICE = Path(__file__).parents[2] / "examples/device/device.py"
SPEC = WindowSpec(60, 60)
LINES = [f"s{sensor},{1_600_000_000 + second},{second % 7 + sensor}" for second in range(300) for sensor in range(2)]


@pytest.fixture(scope="module")
def device_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("device_example", DEVICE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Run:
    """The example as a process with a pipe for its readings."""

    def __init__(self, hub: RunningHub, buffer: Path, *options: str) -> None:
        self._buffer = buffer
        self.process = subprocess.Popen(
            [sys.executable, str(DEVICE), "press-1", "--buffer", str(buffer), *options],
            env={**os.environ, "EVENTHUB_CONNECTION_STRING": hub.connection_string + "EntityPath=readings"},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def measure(self, lines: list[str]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(line + "\n" for line in lines).encode())
        self.process.stdin.flush()

    def wait_until(self, *, added: int, waiting: int) -> None:
        """Until the buffer has been given so many readings in its life, and holds so many."""
        wait_for(lambda: self._counts() == (added, waiting), 30)

    def _counts(self) -> tuple[int, int] | None:
        with contextlib.closing(sqlite3.connect(self._buffer)) as db:
            try:
                counts: tuple[int, int] | None = db.execute(
                    "SELECT seq, (SELECT count(*) FROM readings) FROM sqlite_sequence"
                ).fetchone()
                return counts
            except sqlite3.OperationalError:  # no table yet
                return None

    def end(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def start(hub: RunningHub) -> Iterator[Callable[..., Run]]:
    """Starts devices; what a failed test left running ends with it."""
    started: list[Run] = []

    def start(buffer: Path, *options: str) -> Run:
        started.append(Run(hub, buffer, *options))
        return started[-1]

    yield start
    for run in started:
        if run.process.poll() is None:
            run.process.kill()
            run.end()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub", {"readings": 4, "undisturbed": 4}) as running:
        yield running


def test_every_reading_of_a_device_counts_once_though_hub_and_device_are_killed(
    tmp_path: Path, hub: RunningHub, start: Callable[..., Run]
) -> None:
    buffer = tmp_path / "buffer.sqlite"
    device = start(buffer)
    device.measure(LINES[:100])
    device.wait_until(added=100, waiting=0)
    hub.kill()
    device.measure(LINES[100:300])
    device.wait_until(added=300, waiting=200)
    device.process.kill()
    device.end()
    shutil.copy(buffer, tmp_path / "before")

    device = start(buffer, "--no-flush")
    device.measure(LINES[300:400])
    device.wait_until(added=400, waiting=300)
    hub.restart()
    assert device.end() == 0  # its input ended
    # As if it had been killed between the hub's acknowledgement and its own note of that.
    shutil.copy(tmp_path / "before", buffer)

    device = start(buffer)
    device.measure(LINES[400:])
    device.wait_until(added=500, waiting=0)
    device.process.send_signal(signal.SIGTERM)
    assert device.end() == 0

    readings = [
        {"device": "press-1", "sensor": sensor, "ts": float(ts), "value": float(value)}
        for sensor, ts, value in (line.split(",") for line in LINES)
    ]
    flush = {"device": "press-1", "flush": True}
    produce(hub.bootstrap, "undisturbed", [("press-1", json.dumps([*readings, flush]).encode())])
    seen = asyncio.run(read_confluent(hub.bootstrap, "readings", 4, 1000, json.dumps(flush).encode()))
    assert len({each.partition for each in seen}) == 1
    sent = [reading for each in seen[:-1] for reading in json.loads(each.event.value)]
    assert len(sent) == 800, "200 of 600 readings were sent twice"
    assert [reading for n, reading in enumerate(sent) if reading not in sent[:n]] == readings
    windows = expected_windows(hub.bootstrap, "readings", SPEC)
    assert len(windows) == 12
    assert windows == expected_windows(hub.bootstrap, "undisturbed", SPEC)


def test_a_device_without_its_hub_ends_when_told_to_and_keeps_its_readings(
    tmp_path: Path, hub: RunningHub, device_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "GRACE_S", 0.2)
    hub.kill()
    buffer = device_module.Buffer(tmp_path / "buffer.sqlite", 10)
    buffer.add(["{}"])
    link = device_module.Hub(hub.connection_string + "EntityPath=readings", "press-1")
    device = device_module.Device("press-1", buffer, link)
    device.stop()
    assert not device.run(flush=True)
    assert buffer.oldest(10) == [(1, "{}")]


def test_a_full_buffer_makes_room_by_its_oldest_readings_and_says_how_many(
    tmp_path: Path, device_module: ModuleType
) -> None:
    buffer = device_module.Buffer(tmp_path / "buffer.sqlite", 3)
    assert buffer.add(["1", "2"]) == 0
    assert buffer.add(["3", "4", "5"]) == 2
    buffer.forget(buffer.oldest(1)[0][0])
    assert buffer.add(["6"]) == 0
    again = device_module.Buffer(tmp_path / "buffer.sqlite", 3)
    assert [body for _, body in again.oldest(10)] == ["4", "5", "6"]
