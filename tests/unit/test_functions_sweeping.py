"""The sweep: what was lost is found, what is only waiting is left alone."""

import pytest

from functions.scoring import handle_batch, score_windows
from functions.sweeping import GRACE_S, RESEND_S, SETTLED_S, Swept
from models.errors import TryLater
from models.names import batch_blob, prediction_blob
from models.tables import decode_batch, encode_predictions
from tests.unit.telemetry import PARTITION, SPEC, Plant, ValueBank, Window, batch_bytes, message_bytes


@pytest.fixture
def plant() -> Plant:
    return Plant()


def write(plant: Plant, *seqs: int) -> None:
    for seq in seqs:
        plant.write_batch(seq, [Window(seq, "a", 2.0)])


def score(plant: Plant, *seqs: int) -> None:
    for seq in seqs:
        handle_batch(message_bytes(seq), plant.blobs, ValueBank(), plant.folder)


def prediction_name(seq: int) -> str:
    return prediction_blob("readings", SPEC, 0, seq)


def queued(plant: Plant) -> list[int]:
    seqs = [int(body.split(b'"seq":')[1].split(b",")[0]) for body in plant.queue.bodies]
    assert plant.queue.bodies == [message_bytes(seq).replace(b'"rows":1', b'"rows":0') for seq in seqs]
    return seqs


def count_requests(plant: Plant) -> list[str]:
    made: list[str] = []
    for name in ("get", "head", "list"):
        original = getattr(plant.blobs, name)
        setattr(plant.blobs, name, lambda *a, original=original, name=name: (made.append(name), original(*a))[1])
    return made


def test_nothing_to_do_on_an_empty_store(plant: Plant) -> None:
    assert plant.sweeper.sweep() == Swept()


def test_a_batch_without_predictions_is_queued_again_after_a_grace(plant: Plant) -> None:
    write(plant, 0)
    plant.clock.advance(GRACE_S - 1)
    assert plant.sweeper.sweep() == Swept(partitions=1)
    plant.clock.advance(1)
    assert plant.sweeper.sweep() == Swept(partitions=1, requeued=1)
    assert queued(plant) == [0]


def test_a_batch_is_not_queued_over_and_over(plant: Plant) -> None:
    write(plant, 0)
    plant.clock.advance(GRACE_S)
    for _ in range(3):
        plant.sweeper.sweep()
        plant.clock.advance(RESEND_S / 4)
    assert queued(plant) == [0]
    plant.clock.advance(RESEND_S / 4)
    plant.sweeper.sweep()
    assert queued(plant) == [0, 0]


def test_a_process_that_starts_sends_at_once_what_its_predecessor_sent_and_may_have_lost(plant: Plant) -> None:
    write(plant, 0)
    plant.clock.advance(GRACE_S)
    plant.sweeper.sweep()
    plant.start()
    plant.sweeper.sweep()
    assert queued(plant) == [0, 0]


def test_batches_that_only_wait_behind_a_backlog_are_left_in_the_queue(plant: Plant) -> None:
    write(plant, *range(6))
    plant.clock.advance(GRACE_S + 20)
    score(plant, 0, 1, 3)
    plant.sweeper.sweep()
    assert queued(plant) == [2]
    plant.clock.advance(GRACE_S)
    plant.sweeper.sweep()
    assert queued(plant) == [2, 4, 5]


def test_a_stalled_fold_is_advanced(plant: Plant) -> None:
    write(plant, 0, 1)
    rows = decode_batch(batch_bytes([Window(0, "a", 2.0)])).windows
    for seq in range(2):
        plant.blobs.create(prediction_name(seq), encode_predictions(score_windows(rows, ValueBank())))
    assert plant.sweeper.sweep() == Swept(partitions=1, folded=2)
    assert len(plant.alerts()) == 1


def test_predictions_that_vanished_are_made_and_folded_again(plant: Plant) -> None:
    write(plant, 0, 1, 2)
    score(plant, 0, 1, 2)
    before = plant.alerts()
    plant.blobs.delete(prediction_name(1))
    plant.blobs.delete(prediction_name(2))
    plant.clock.advance(GRACE_S)
    plant.sweeper.sweep()
    assert plant.folder.position(PARTITION).applied_until == 1
    assert queued(plant) == [1, 2]
    score(plant, 1, 2)
    assert plant.folder.position(PARTITION).applied_until == 3
    assert plant.alerts() == before


def test_predictions_of_another_life_are_folded_though_their_function_died_before_it_could(plant: Plant) -> None:
    write(plant, 0)
    score(plant, 0)
    for name in (batch_blob("readings", SPEC, 0, 0), prediction_name(0)):
        plant.blobs.delete(name)
    rows = [Window(0, "a", 2.0), Window(1, "a", 2.0)]
    plant.write_batch(0, rows)
    again = encode_predictions(score_windows(decode_batch(batch_bytes(rows)).windows, ValueBank()))
    plant.blobs.create(prediction_name(0), again)
    plant.sweeper.sweep()
    (alert,) = plant.alerts()
    assert alert.windows == 2


def test_what_is_settled_is_not_looked_at_again(plant: Plant) -> None:
    write(plant, *range(250))
    score(plant, *range(250))
    plant.sweeper.sweep()
    assert plant.folder.position(PARTITION).verified_until == 0
    plant.clock.advance(SETTLED_S + 1)
    plant.sweeper.sweep()
    position = plant.folder.position(PARTITION)
    assert (position.verified_until, position.etags) == (250, [])
    plant.blobs.delete(prediction_name(3))
    made = count_requests(plant)
    assert plant.sweeper.sweep() == Swept(partitions=1)
    assert made == ["list"] * 5 + ["get"], (
        "checkpoints, two blocks of each kind (the last empty), the next predictions"
    )


def test_a_sweep_of_an_active_partition_takes_a_request_per_hundred_batches(plant: Plant) -> None:
    write(plant, *range(250))
    score(plant, *range(250))
    made = count_requests(plant)
    plant.sweeper.sweep()
    assert made.count("list") == 1 + 2 * 4
    assert len(made) == 10


def test_a_partition_known_from_its_fold_alone_is_swept_when_checkpoints_are_lost(plant: Plant) -> None:
    write(plant, 0, 1)
    score(plant, 0)
    plant.blobs.delete(f"checkpoints/readings/{SPEC.name}/0")
    plant.clock.advance(GRACE_S)
    plant.sweeper.sweep()
    assert queued(plant) == [1]


def test_one_partition_that_fails_does_not_hold_up_the_others(plant: Plant, caplog) -> None:
    write(plant, 0)
    plant.blobs.replace(f"checkpoints/another/{SPEC.name}/0", b"")
    plant.blobs.replace("checkpoints/not/ours", b"")
    listed = plant.blobs.list

    def failing(prefix: str):
        if prefix.startswith("windows/another"):
            raise TryLater("no answer")
        return listed(prefix)

    plant.blobs.list = failing
    plant.clock.advance(GRACE_S)
    assert plant.sweeper.sweep() == Swept(partitions=2, requeued=1, failed=1)
    assert "another" in caplog.text


def test_verifying_is_dropped_when_the_fold_was_set_back_meanwhile(plant: Plant) -> None:
    write(plant, 0, 1)
    score(plant, 0, 1)
    seen = plant.folder.position(PARTITION)
    plant.folder.rewind(PARTITION, 0)
    plant.folder.verify(PARTITION, 2, at=seen)
    assert plant.folder.position(PARTITION).verified_until == 0


def test_predictions_of_a_batch_that_was_lost_and_written_again_are_made_anew(plant: Plant) -> None:
    write(plant, 0)
    score(plant, 0)
    stale = plant.blobs.get(prediction_name(0))
    plant.blobs.delete(batch_blob("readings", SPEC, 0, 0))
    plant.write_batch(0, [Window(0, "a", 2.0), Window(0, "b", 2.0)])
    plant.clock.advance(GRACE_S)
    assert plant.sweeper.sweep().requeued == 1
    assert plant.blobs.head(prediction_name(0)) is None
    score(plant, 0)
    assert plant.blobs.get(prediction_name(0)).data != stale.data
    assert sorted(alert.device for alert in plant.alerts()) == ["a", "b"]
    assert plant.sweeper.sweep().requeued == 0
