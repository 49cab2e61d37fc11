"""Whatever dies, comes twice or is forgotten: the alerts are those of an undisturbed run."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions import folding
from functions.scoring import handle_batch
from models.errors import PenstockError
from models.names import batch_prefix
from tests.unit.telemetry import MINUTE_US, SPEC, Plant, ValueBank, Window, message_bytes

FORGETS_S = 10.0
LOCK = timedelta(minutes=10)


class Killed(Exception):
    """The process ends here."""


@contextmanager
def killed_before_write(plant: Plant, number: int) -> Iterator[None]:
    """Within the block, write `number` of the process never happens, nor any after it."""
    left = number

    def fused(write):
        def guarded(*args, **kwargs):
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return write(*args, **kwargs)

        return guarded

    originals = plant.blobs.create, plant.state.transact, plant.queue.send
    plant.blobs.create, plant.state.transact, plant.queue.send = map(fused, originals)
    try:
        yield
    except Killed:
        plant.start()
    finally:
        plant.blobs.create, plant.state.transact, plant.queue.send = originals


class Stream:
    """Writes the log's windows in batches; writes those again that storage forgot, perhaps grouped otherwise."""

    def __init__(self, plant: Plant, log: list[Window]) -> None:
        self.plant = plant
        self.log = log
        self.batches: list[int] = []

    def write(self, rows: int) -> None:
        done = sum(self.batches)
        windows = self.log[done : done + rows]
        if windows:
            self.plant.write_batch(len(self.batches), windows)
            self.batches.append(len(windows))

    def notice_loss(self) -> None:
        present = len(list(self.plant.blobs.list(batch_prefix("readings", SPEC, 0))))
        del self.batches[present:]


def forget(plant: Plant, writes: int) -> None:
    """Storage loses its latest `writes` blobs, as far as they are young."""
    young = [
        blob.info
        for blob in plant.blobs.blobs.values()
        if plant.clock.now() - blob.info.modified <= FORGETS_S and not blob.info.name.startswith("checkpoints")
    ]
    for info in sorted(young, key=lambda info: -int(info.etag))[:writes]:
        plant.blobs.delete(info.name)


def deliver(plant: Plant, seq: int) -> None:
    with suppress(PenstockError):  # the host would deliver it again
        handle_batch(message_bytes(seq), plant.blobs, ValueBank(), plant.folder)


def settle(plant: Plant, stream: Stream) -> None:
    """Let the timers run until nothing is left to do: only the sweep, no message of the stream's arrives."""
    while sum(stream.batches) < len(stream.log):
        stream.write(3)
    for _ in range(8):
        plant.clock.advance(40)
        plant.sweeper.sweep()
        while (item := plant.queue.receive(LOCK)) is not None:
            handle_batch(item.body, plant.blobs, ValueBank(), plant.folder)
            plant.queue.delete(item)


values = st.sampled_from([-1.0, 0.5, 2.0, 3.0, float("nan")])
logs = st.lists(st.tuples(st.sampled_from(["a", "b", "new"]), values), min_size=1, max_size=24).map(
    lambda rows: [Window(minute, device, value) for minute, (device, value) in enumerate(rows)]
)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 4)),
        st.tuples(st.just("deliver"), st.integers(0, 12)),
        st.tuples(st.just("sweep"), st.just(0)),
        st.tuples(st.just("forget"), st.integers(1, 6)),
        st.tuples(st.just("wait"), st.sampled_from([1, 6, 70])),
    ),
    max_size=30,
)


@pytest.fixture
def small_transactions(monkeypatch):
    """So few documents per transaction that most folds need several."""
    monkeypatch.setattr(folding, "MAX_TRANSACTION_WRITES", 3)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=logs, script=st.lists(st.tuples(actions, st.integers(0, 8)), max_size=4))
def test_any_order_duplication_crash_and_loss_gives_the_same_alerts(small_transactions, log, script) -> None:
    plant = Plant()
    stream = Stream(plant, log)
    for life, kill_at in script:
        with killed_before_write(plant, kill_at + len(life)):
            for action, number in life:
                plant.clock.advance(0.5)
                if action == "write":
                    stream.write(number)
                elif action == "deliver":
                    deliver(plant, number)
                elif action == "sweep":
                    plant.sweeper.sweep()
                elif action == "forget":
                    forget(plant, number)
                    stream.notice_loss()
                else:
                    plant.clock.advance(number)
        stream.notice_loss()
    settle(plant, stream)

    undisturbed = Plant()
    straight = Stream(undisturbed, log)
    while sum(straight.batches) < len(log):
        straight.write(1)
        deliver(undisturbed, len(straight.batches) - 1)
    assert plant.alerts() == undisturbed.alerts()
    assert plant.folder.position(folding.StreamPartition("readings", SPEC, 0)).applied_until == len(stream.batches)


def test_a_batch_waits_while_the_one_before_it_is_lost_and_written_again_with_other_windows() -> None:
    plant = Plant()
    healthy, faulty, later = Window(0, "a", -1.0), Window(1, "a", 3.0), Window(2, "a", -1.0)
    plant.write_batch(0, [healthy])
    deliver(plant, 0)
    forget(plant, 2)
    plant.write_batch(0, [healthy, faulty])
    plant.write_batch(1, [later])
    deliver(plant, 1)
    deliver(plant, 0)
    (alert,) = plant.alerts()
    assert (alert.start_us, alert.cleared_us) == (faulty.minute * MINUTE_US, later.minute * MINUTE_US)
