"""Asking for models: once per need, never in piles."""

from datetime import timedelta

import msgspec
import pytest

from functions.learning import request_training
from functions.scoring import handle_batch
from models.contracts import TrainRequest
from models.errors import Superseded
from tests.fakes import FakeQueue
from tests.unit.telemetry import NoBank, Plant, ValueBank, Window, message_bytes

MIN_WINDOWS = 3


@pytest.fixture
def plant() -> Plant:
    return Plant()


@pytest.fixture
def train_queue(plant: Plant) -> FakeQueue:
    return FakeQueue(plant.clock)


def see(plant: Plant, seq: int, *windows: Window, model=None) -> None:
    plant.write_batch(seq, windows)
    handle_batch(message_bytes(seq), plant.blobs, model or NoBank(), plant.folder)


def ask(plant: Plant, train_queue: FakeQueue) -> int:
    return request_training(plant.state, train_queue, plant.clock, min_windows=MIN_WINDOWS)


def take(train_queue: FakeQueue) -> list[TrainRequest]:
    requests = []
    while (item := train_queue.receive(timedelta(minutes=1))) is not None:
        requests.append(msgspec.json.decode(item.body, type=TrainRequest))
        train_queue.delete(item)
    return requests


def test_series_seen_often_enough_are_asked_for_in_one_request(plant: Plant, train_queue: FakeQueue) -> None:
    see(plant, 0, *(Window(minute, device, 0.0) for minute in range(3) for device in "ba"), Window(0, "young", 0.0))
    assert ask(plant, train_queue) == 2
    (request,) = take(train_queue)
    assert (request.hub, request.spec) == ("readings", "tumbling-60s")
    assert request.series == [("a", "temp"), ("b", "temp")]


def test_series_with_a_model_are_not_asked_for(plant: Plant, train_queue: FakeQueue) -> None:
    see(plant, 0, *(Window(minute, "a", 0.0) for minute in range(3)))
    see(plant, 1, Window(3, "a", 0.0), model=ValueBank())
    assert ask(plant, train_queue) == 0
    assert train_queue.length() == 0


def test_requests_do_not_pile_up_while_one_waits_or_is_in_work(plant: Plant, train_queue: FakeQueue) -> None:
    see(plant, 0, *(Window(minute, "a", 0.0) for minute in range(3)))
    ask(plant, train_queue)
    train_queue.receive(timedelta(hours=1))
    plant.clock.advance(600)
    assert ask(plant, train_queue) == 0


def test_series_that_stay_without_a_model_are_asked_for_ever_more_seldom(
    plant: Plant, train_queue: FakeQueue
) -> None:
    see(plant, 0, *(Window(minute, "a", 0.0) for minute in range(3)))
    started, asked_at = plant.clock.now(), []
    for _ in range(720):
        if ask(plant, train_queue):
            asked_at.append(plant.clock.now() - started)
            take(train_queue)
        plant.clock.advance(10)
    assert asked_at == [0, 60, 180, 420, 900, 1860, 3780]


def test_another_series_does_not_wait_for_a_hopeless_one(plant: Plant, train_queue: FakeQueue) -> None:
    see(plant, 0, *(Window(minute, "a", 0.0) for minute in range(3)))
    for _ in range(30):
        ask(plant, train_queue)
        take(train_queue)
        plant.clock.advance(100)
    ask(plant, train_queue)
    take(train_queue)
    plant.clock.advance(30)
    see(plant, 1, *(Window(minute, "b", 0.0) for minute in range(3)))
    assert ask(plant, train_queue) == 2


def test_a_large_fleet_is_asked_for_in_messages_that_fit_a_queue(plant: Plant, train_queue: FakeQueue) -> None:
    devices = [f"{n:04d}{'ü' * 100}" for n in range(500)]
    see(plant, 0, *(Window(minute, device, 0.0) for device in devices for minute in range(3)))
    assert ask(plant, train_queue) == 500
    assert max(map(len, train_queue.bodies)) <= 48 * 1024
    assert [device for request in take(train_queue) for device, _ in request.series] == devices


def test_of_two_timers_at_once_only_one_asks(plant: Plant, train_queue: FakeQueue) -> None:
    see(plant, 0, *(Window(minute, "a", 0.0) for minute in range(3)))

    def beaten(*_args) -> None:
        raise Superseded("the other one was first")

    plant.state.transact = beaten
    assert ask(plant, train_queue) == 0
    assert train_queue.length() == 0
