from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
import pytest

from models.contracts import TrainRequest
from models.errors import BadInput, ConfigurationError, TryLater
from models.inference import load_bank
from models.names import raw_blob
from models.ports import QueueItem
from models.registry import Registry
from models.tables import encode_readings
from models.worker import Job, Work, Worker
from tests.fakes import FakeBlobs, FakeClock, FakeQueue
from tests.unit.svm import SPEC, publishing, readings
from training.svm.fit import Refusal
from training.svm.requests import Outcome, train

A, B = ("a", "x"), ("b", "y")
DONE = "trained"


def request(*series: tuple[str, str], spec: str = SPEC.name) -> TrainRequest:
    return TrainRequest(hub="hub", spec=spec, series=list(series))


@pytest.fixture
def archive() -> FakeBlobs:
    blobs = FakeBlobs()
    blobs.create(raw_blob("hub", 0, 0), encode_readings(readings(A, B, minutes=30)))
    return blobs


def test_the_asked_series_are_trained_from_the_archive_and_promoted(archive: FakeBlobs) -> None:
    outcome = train(request(A), archive, publishing(archive))
    assert (outcome.fitted, outcome.skipped, outcome.refused) == (1, 0, [])
    registry = Registry(archive, "svm")
    assert registry.aliases().aliases.live == outcome.version
    bank = load_bank(registry, outcome.version or "")
    assert A in bank
    assert B not in bank


def test_a_replayed_request_changes_nothing(archive: FakeBlobs) -> None:
    publish = publishing(archive)
    train(request(A), archive, publish)
    before = dict(archive.blobs)
    archive.clock.advance(60)
    assert train(request(A), archive, publish) == Outcome(version=None, fitted=0, skipped=1, refused=[])
    assert archive.blobs == before


def test_series_with_a_model_are_skipped_and_stay(archive: FakeBlobs) -> None:
    publish = publishing(archive)
    train(request(A), archive, publish)
    archive.clock.advance(60)
    outcome = train(request(A, B), archive, publish)
    assert (outcome.fitted, outcome.skipped) == (1, 1)
    assert len(load_bank(Registry(archive, "svm"), outcome.version or "")) == 2


def test_what_cannot_be_trained_is_reported_and_nothing_is_registered(archive: FakeBlobs) -> None:
    archive.create(raw_blob("hub", 1, 0), encode_readings(readings(("short", "x"), minutes=5)))
    outcome = train(request(("short", "x"), ("absent", "x")), archive, publishing(archive))
    assert outcome.version is None
    assert {r.device: r.reason for r in outcome.refused} == {
        "short": "has 5 windows, needs 20",
        "absent": "has no readings in the archive",
    }
    assert Registry(archive, "svm").versions() == []


def test_a_request_for_other_windows_is_bad_input(archive: FakeBlobs) -> None:
    with pytest.raises(BadInput, match="tumbling-10s"):
        train(request(A, spec="tumbling-10s"), archive, publishing(archive))


def test_an_outcome_reads_as_a_line_for_the_log() -> None:
    outcome = Outcome(version=None, fitted=0, skipped=1, refused=[Refusal("a", "x", 5, "has 5 windows, needs 20")])
    assert str(outcome) == (
        "trained 0 series, skipped 1, refused 1 (a/x has 5 windows, needs 20), live version unchanged"
    )


def test_a_damaged_live_version_does_not_stop_training_for_ever(archive: FakeBlobs) -> None:
    first = train(request(A), archive, publishing(archive))
    archive.replace(f"models/svm/{first.version}/weights.npz", b"damaged")
    archive.clock.advance(60)
    second = train(request(A), archive, publishing(archive))
    assert A in load_bank(Registry(archive, "svm"), second.version or "")


@dataclass
class FakeJob:
    """A job that answers after `waits` waits."""

    answer: str | Exception = DONE
    waits: int = 0
    cancelled: bool = False

    def wait(self, timeout_s: float) -> str | None:
        if self.waits > 0:
            self.waits -= 1
            time.sleep(min(timeout_s, 0.01))
            return None
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Bench:
    """A worker on fake queues whose jobs are given beforehand."""

    jobs: list[FakeJob] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.queue, self.poison = FakeQueue(self.clock), FakeQueue(self.clock)
        self.started: list[TrainRequest] = []
        jobs: Iterator[FakeJob] = iter(self.jobs)

        def start(message: TrainRequest) -> Job:
            self.started.append(message)
            return next(jobs)

        self.given_up: list[tuple[TrainRequest, str]] = []
        work = Work("tests", TrainRequest, start, lambda message, why: self.given_up.append((message, why)))
        self.worker = Worker(self.queue, self.poison, work, lock=timedelta(seconds=0.03), poll_s=0.01)

    def ask(self, *series: tuple[str, str]) -> bytes:
        body = msgspec.json.encode(request(*series))
        self.queue.send(body)
        return body


def test_a_message_goes_when_its_job_is_done() -> None:
    bench = Bench([FakeJob()])
    bench.ask(A)
    assert bench.worker.step()
    assert bench.started == [request(A)]
    assert bench.queue.length() == 0
    assert not bench.worker.step()


def test_the_lock_is_renewed_while_a_job_runs() -> None:
    renewals: list[QueueItem] = []
    bench = Bench([FakeJob(waits=10)])
    real = bench.queue.renew

    def renew(item: QueueItem, lock: timedelta) -> QueueItem:
        renewals.append(item)
        return real(item, lock)

    bench.queue.renew = renew  # type: ignore[method-assign]  # a spy in front of the fake
    bench.ask(A)
    bench.worker.step()
    assert len(renewals) >= 3
    assert bench.queue.length() == 0


def test_storage_away_during_a_renewal_does_not_end_the_job() -> None:
    bench = Bench([FakeJob(waits=10)])

    def renew(item: QueueItem, lock: timedelta) -> QueueItem:
        raise TryLater("storage is away")

    bench.queue.renew = renew  # type: ignore[method-assign]  # a storage that is away
    bench.ask(A)
    bench.worker.step()
    assert bench.queue.length() == 0


def test_a_job_whose_message_was_taken_over_is_cancelled() -> None:
    job = FakeJob(waits=1000)
    bench = Bench([job])
    bench.ask(A)
    bench.clock.advance(1)
    real = bench.queue.renew

    def renew(item: QueueItem, lock: timedelta) -> QueueItem:
        bench.clock.advance(1)
        bench.queue.receive(timedelta(seconds=30))
        return real(item, lock)

    bench.queue.renew = renew  # type: ignore[method-assign]  # a rival that takes the message
    bench.worker.step()
    assert job.cancelled
    assert bench.queue.length() == 1


def test_a_failed_job_comes_again_and_is_set_aside_after_five_tries() -> None:
    bench = Bench([FakeJob(RuntimeError("training process ended with -9")) for _ in range(5)])
    body = bench.ask(A)
    for _ in range(6):
        assert bench.worker.step()
        bench.clock.advance(10)
    assert len(bench.started) == 5
    assert bench.given_up == [(request(A), "failed 5 times")]
    assert bench.queue.length() == 0
    assert bench.poison.bodies == [body]


def test_what_a_machine_cannot_do_goes_back_untried_and_the_machine_rests_ever_longer() -> None:
    cannot = ConfigurationError("the disk is full")
    # The lock is renewed while they run: the message that goes back must not stay there as well.
    bench = Bench([*(FakeJob(cannot, waits=5) for _ in range(8)), FakeJob(), FakeJob(cannot)])
    rests: list[float] = []
    bench.worker._stopping.wait = rests.append  # type: ignore[assignment]  # time that passes at once
    body = bench.ask(A)
    for _ in range(8):
        assert not bench.worker.step()
        assert (bench.queue.bodies, bench.poison.length()) == ([body], 0)
    assert bench.worker.step()
    assert rests == [5, 10, 20, 40, 80, 160, 300, 300]
    assert bench.queue.length() == 0
    bench.ask(A)
    bench.worker.step()
    assert rests[-1] == 5
    item = bench.queue.receive(timedelta(seconds=30))
    assert item is not None
    assert (item.body, item.dequeue_count) == (body, 1)


def test_a_worker_that_can_do_nothing_is_idle() -> None:
    clock = FakeClock()
    queue = FakeQueue(clock)
    queue.send(msgspec.json.encode(request(A)))
    work = Work("tests", TrainRequest, lambda _request: FakeJob(ConfigurationError("no GPU")))
    Worker(queue, FakeQueue(clock), work, poll_s=0.01, idle_s=0.05, rest_s=0.01).run()
    assert queue.length() == 1


def test_bad_input_is_set_aside_at_once() -> None:
    bench = Bench([FakeJob(BadInput("other windows"))])
    body = bench.ask(A)
    bench.worker.step()
    assert (bench.queue.length(), bench.poison.bodies) == (0, [body])
    assert bench.given_up == [(request(A), "other windows")]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"hub": 1}', b"\xff"])
def test_a_message_that_is_no_request_is_set_aside_without_a_job(body: bytes) -> None:
    bench = Bench()
    bench.queue.send(body)
    assert bench.worker.step()
    assert (bench.queue.length(), bench.poison.bodies, bench.started) == (0, [body], [])


def test_stopping_cancels_the_job_and_frees_its_message() -> None:
    job = FakeJob(waits=10_000)
    bench = Bench([job])
    bench.ask(A)
    thread = threading.Thread(target=bench.worker.run)
    thread.start()
    while not bench.started:
        time.sleep(0.005)
    bench.worker.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert job.cancelled
    assert bench.queue.receive(timedelta(seconds=1)) is not None


def test_the_worker_outlives_storage_that_is_away() -> None:
    bench = Bench([FakeJob()])
    real, calls = bench.queue.receive, 0

    def receive(lock: timedelta) -> QueueItem | None:
        nonlocal calls
        calls += 1
        if calls <= 3:
            raise TryLater("storage is away")
        if calls > 4:
            bench.worker.stop()
        return real(lock)

    bench.queue.receive = receive  # type: ignore[method-assign]  # a storage that comes back
    bench.ask(A)
    bench.worker.run()
    assert bench.queue.length() == 0
    assert bench.started == [request(A)]
