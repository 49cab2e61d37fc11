from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.eventhubs.errors import OutOfOrderSequence, StaleProducerEpoch
from infra.local.eventhubs.log.batch import read_header
from infra.local.eventhubs.log.flush import Flusher
from infra.local.eventhubs.log.partition import PartitionLog
from infra.local.eventhubs.log.producers import ProducerWindow
from infra.local.eventhubs.producer_ids import ProducerIds
from infra.local.eventhubs.settings import LogSettings

from .batches import make_batch

NOW_MS = 1_700_000_000_000


def open_log(directory: Path, **changes: int) -> PartitionLog:
    limits = LogSettings(fsync="none", **changes)  # type: ignore[arg-type]  # ints only
    return PartitionLog(directory, limits, Flusher("none", 0))


def batch(sequence: int, count: int = 1, epoch: int = 0) -> bytes:
    return make_batch(*[b"v"] * count, producer_id=7, epoch=epoch, sequence=sequence)


def test_a_batch_sent_again_is_stored_once_and_answered_as_before(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    first = log.append(batch(0, 3), NOW_MS)
    log.append(batch(3), NOW_MS + 1)
    again = log.append(batch(0, 3), NOW_MS + 2)
    assert (again.base_offset, again.append_ms) == (first.base_offset, first.append_ms)
    assert log.end_offset == 4
    log.close()


def test_repeats_are_known_after_a_restart(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    for sequence in range(8):
        log.append(batch(sequence), NOW_MS)
    log.close()
    log = open_log(tmp_path)
    assert [log.append(batch(sequence), NOW_MS).base_offset for sequence in range(3, 8)] == [3, 4, 5, 6, 7]
    assert log.append(batch(8), NOW_MS).base_offset == 8
    log.close()


def test_a_gap_is_refused(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    with pytest.raises(OutOfOrderSequence, match="begins at 1"):
        log.append(batch(1), NOW_MS)
    log.append(batch(0), NOW_MS)
    with pytest.raises(OutOfOrderSequence, match="expected 1"):
        log.append(batch(2), NOW_MS)
    assert log.end_offset == 1
    log.close()


def test_a_batch_older_than_the_last_five_is_refused_not_stored_again(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    for sequence in range(6):
        log.append(batch(sequence), NOW_MS)
    with pytest.raises(OutOfOrderSequence):
        log.append(batch(0), NOW_MS)
    log.close()


def test_a_newer_epoch_fences_the_older_and_begins_at_zero(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(batch(0, epoch=0), NOW_MS)
    with pytest.raises(OutOfOrderSequence):
        log.append(batch(1, epoch=1), NOW_MS)
    log.append(batch(0, epoch=1), NOW_MS)
    with pytest.raises(StaleProducerEpoch):
        log.append(batch(1, epoch=0), NOW_MS)
    log.close()


def test_sequences_wrap_around_after_two_to_the_31() -> None:
    window = ProducerWindow()
    window.forget_past()
    last = read_header(batch(2**31 - 2, count=2))
    window.note(last)
    assert window.check(read_header(batch(0))) is None
    with pytest.raises(OutOfOrderSequence):
        window.check(read_header(batch(1)))


def test_a_producer_whose_past_was_deleted_may_go_on(tmp_path: Path) -> None:
    log = open_log(tmp_path, segment_bytes=100)
    log.append(batch(0), NOW_MS)
    log.append(make_batch(b"other"), NOW_MS + 1000)
    log.retain(NOW_MS + 1000, retention_ms=10, retention_bytes=-1)
    log.close()
    log = open_log(tmp_path)
    assert log.append(batch(1), NOW_MS).base_offset == 2
    log.close()


def test_producer_ids_are_never_given_twice_even_after_a_crash(tmp_path: Path) -> None:
    given = []
    for _ in range(4):
        ids = ProducerIds(tmp_path / "ids", Flusher("none", 0))
        given += [ids.take() for _ in range(1500)]
        ids.close()
    assert len(set(given)) == len(given) == 6000
