"""Real Faust workers on the real hub and Azurite, killed, frozen and outnumbered."""

import json
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.azure.blobs import AzureBlobs
from infra.local.azurite import RunningAzurite, running_azurite
from infra.local.eventhubs.testing import RunningHub, running_hub
from models.windowspec import WindowSpec
from tests.integration.streaming import (
    StreamWorker,
    device_events,
    end_offsets,
    expected_windows,
    produce,
    produce_rubbish_batch,
    stored_windows,
    wait_until_stored,
)

pytestmark = pytest.mark.integration
SPEC = WindowSpec(60, 60)


@pytest.fixture
def hub_name() -> str:
    return f"r{uuid.uuid4().hex[:8]}"


@pytest.fixture
def hub(tmp_path: Path, hub_name: str) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub", {hub_name: 4}) as running:
        yield running


@pytest.fixture
def workers(tmp_path: Path, hub: RunningHub, hub_name: str, azurite: RunningAzurite) -> Iterator[list[StreamWorker]]:
    """Start with one worker; tests add more by `another_worker`."""
    started = [StreamWorker(tmp_path, hub_name, hub.bootstrap, azurite.connection_string)]
    yield started
    for worker in started:
        if worker.process.poll() is None:
            worker.stop()


def wait_for_partitions(workers: list[StreamWorker], counts: set[int], timeout_s: float = 90) -> None:
    """Until the four partitions are spread over the workers so."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        held = [len(worker.partitions()) for worker in workers]
        if sum(held) == 4 and set(held) == counts:
            return
        time.sleep(0.2)
    raise AssertionError(f"expected partitions spread as {counts}, got {held}")


def assert_results_are_those_of_an_undisturbed_run(
    workers: list[StreamWorker], hub: RunningHub, hub_name: str, azurite: RunningAzurite
) -> None:
    blobs = AzureBlobs(azurite.connection_string)
    wait_until_stored(workers, blobs, hub_name, end_offsets(hub.bootstrap, hub_name))
    assert stored_windows(blobs, hub_name, SPEC) == expected_windows(hub.bootstrap, hub_name, SPEC)


def test_a_worker_killed_twice_while_it_reads_loses_and_doubles_no_window(
    workers: list[StreamWorker], hub: RunningHub, hub_name: str, azurite: RunningAzurite
) -> None:
    events = device_events(devices=12, minutes=20)
    third = len(events) // 3
    [worker] = workers
    wait_for_partitions(workers, {4})
    for part in (events[:third], events[third : 2 * third]):
        produce(hub.bootstrap, hub_name, part)
        time.sleep(0.7)
        worker.send(signal.SIGKILL)
        worker.start()
    produce(hub.bootstrap, hub_name, events[2 * third :])
    assert_results_are_those_of_an_undisturbed_run(workers, hub, hub_name, azurite)


def test_two_workers_share_the_partitions_and_survive_a_kill_and_a_freeze(
    tmp_path: Path, workers: list[StreamWorker], hub: RunningHub, hub_name: str, azurite: RunningAzurite
) -> None:
    workers.append(StreamWorker(tmp_path, hub_name, hub.bootstrap, azurite.connection_string))
    first, second = workers
    wait_for_partitions(workers, {2})
    events = device_events(devices=12, minutes=24)
    quarter = len(events) // 4
    produce(hub.bootstrap, hub_name, events[:quarter])
    first.send(signal.SIGSTOP)
    produce(hub.bootstrap, hub_name, events[quarter : 2 * quarter])
    wait_for_partitions([second], {4})
    first.send(signal.SIGCONT)
    produce(hub.bootstrap, hub_name, events[2 * quarter : 3 * quarter])
    wait_for_partitions(workers, {2})
    second.send(signal.SIGKILL)
    produce(hub.bootstrap, hub_name, events[3 * quarter :])
    assert_results_are_those_of_an_undisturbed_run([first], hub, hub_name, azurite)


def test_a_hub_that_dies_is_read_on_after_its_return(
    workers: list[StreamWorker], hub: RunningHub, hub_name: str, azurite: RunningAzurite
) -> None:
    events = device_events(devices=6, minutes=10)
    half = len(events) // 2
    wait_for_partitions(workers, {4})
    produce(hub.bootstrap, hub_name, events[:half])
    hub.kill()
    time.sleep(1)
    hub.restart()
    produce(hub.bootstrap, hub_name, events[half:])
    assert_results_are_those_of_an_undisturbed_run(workers, hub, hub_name, azurite)


def test_what_is_no_reading_is_set_aside_and_counted_and_the_worker_goes_on(
    workers: list[StreamWorker], hub: RunningHub, hub_name: str, azurite: RunningAzurite
) -> None:
    garbage = [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"device":"x"}',
        b'[{"device":"x","sensor":"s","ts":1e9,"value":NaN}]',
        b"\xff" * 900_000,
    ]
    events = device_events(devices=2, minutes=2)
    produce(hub.bootstrap, hub_name, [("x", body) for body in garbage] + events)
    assert_results_are_those_of_an_undisturbed_run(workers, hub, hub_name, azurite)
    status = workers[0].get("status")
    assert status["totals"]["dead_lettered"] == len(garbage)
    assert status["totals"]["lag"] == 0
    assert workers[0].get("health") == {"healthy": True, "problems": []}


def test_batches_that_cannot_be_unpacked_are_set_aside_and_what_stands_around_them_is_read(
    workers: list[StreamWorker], hub: RunningHub, hub_name: str
) -> None:
    [worker] = workers
    wait_for_partitions([worker], {4})
    readings = [
        (f"d{i}", json.dumps({"device": f"d{i}", "sensor": "s", "ts": 1.6e9, "value": 1.0}).encode())
        for i in range(8)
    ]
    produce(hub.bootstrap, hub_name, readings)
    for payload, codec in ((b"\x1f\x8bgarbage" * 20, 1), (b"\x02" * 50, 0), (b"garbage" * 20, 3)):
        for partition in range(4):
            produce_rubbish_batch(hub.bootstrap, hub_name, partition, payload, codec)
        produce(hub.bootstrap, hub_name, readings)
    rubbish = 3 * 4 * 3
    deadline = time.monotonic() + 40
    while (totals := worker.get("status")["totals"])["events"] < 4 * 8 + rubbish and time.monotonic() < deadline:
        time.sleep(0.2)
    assert (totals["readings"], totals["dead_lettered"]) == (4 * 8, rubbish)
    assert worker.process.poll() is None


def test_results_that_storage_forgot_are_made_again_although_nothing_more_is_read(
    tmp_path: Path, hub: RunningHub, hub_name: str
) -> None:
    with running_azurite(tmp_path / "azurite") as azurite:
        worker = StreamWorker(tmp_path, hub_name, hub.bootstrap, azurite.connection_string)
        try:
            wait_for_partitions([worker], {4})
            azurite.stop()
            shutil.copytree(tmp_path / "azurite", tmp_path / "earlier")
            azurite.start()
            produce(hub.bootstrap, hub_name, device_events(devices=8, minutes=4))
            assert_results_are_those_of_an_undisturbed_run([worker], hub, hub_name, azurite)
            azurite.kill()
            shutil.rmtree(tmp_path / "azurite")
            (tmp_path / "earlier").rename(tmp_path / "azurite")
            azurite.start()
            assert stored_windows(AzureBlobs(azurite.connection_string), hub_name, SPEC) == {}
            assert_results_are_those_of_an_undisturbed_run([worker], hub, hub_name, azurite)
        finally:
            worker.stop()
