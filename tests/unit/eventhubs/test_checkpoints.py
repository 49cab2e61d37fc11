from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.local.eventhubs.errors import CannotStart
from infra.local.eventhubs.log import segment as segment_module
from infra.local.eventhubs.log.batch import BatchHeader
from infra.local.eventhubs.log.flush import Flusher
from infra.local.eventhubs.log.partition import PartitionLog
from infra.local.eventhubs.settings import LogSettings

from .batches import make_batch, records_of

NOW_MS = 1_700_000_000_000
EVERYTHING = 2**31
Open = Callable[[], PartitionLog]


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[Open]:
    """Opens (again) the log in the test's folder; segments are small. It is closed first, which makes the marks."""
    opened: list[PartitionLog] = []

    def open_again() -> PartitionLog:
        for log in opened:
            log.close()
        limits = LogSettings(fsync="none", index_interval_bytes=128, segment_bytes=2000)
        opened.append(PartitionLog(tmp_path / "0", limits, Flusher("none", 0)))
        return opened[-1]

    yield open_again
    for log in opened:
        log.close()


@pytest.fixture
def read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The base offsets of the batches that recovery reads."""
    offsets: list[int] = []
    original = segment_module.is_stored

    def noting(header: BatchHeader, batch: memoryview) -> bool:
        offsets.append(header.base_offset)
        return original(header, batch)

    monkeypatch.setattr(segment_module, "is_stored", noting)
    return offsets


def fill(log: PartitionLog, count: int = 60) -> None:
    for number in range(count):
        log.append(make_batch(b"%d" % number, producer_id=5, epoch=0, sequence=number), NOW_MS + number)


def values(log: PartitionLog) -> list[bytes]:
    found: list[bytes] = []
    while data := log.read(len(found), EVERYTHING):
        found += [record.value for record in records_of(data)][len(found) - records_of(data)[0].offset :]
    return found


def test_after_a_clean_stop_no_batch_is_read_again(open_log: Open, read_one_by_one: list[int]) -> None:
    fill(open_log())
    log = open_log()
    assert read_one_by_one == []
    assert values(log) == [b"%d" % number for number in range(60)]
    assert log.find_time(NOW_MS + 33) == (33, NOW_MS + 33)
    repeated = log.append(make_batch(b"59", producer_id=5, epoch=0, sequence=59), NOW_MS)
    assert repeated.base_offset == 59, "producers are remembered as well"
    assert log.append(make_batch(b"60", producer_id=5, epoch=0, sequence=60), NOW_MS).base_offset == 60


def test_what_came_after_the_marks_is_read(open_log: Open, tmp_path: Path, read_one_by_one: list[int]) -> None:
    log = open_log()
    fill(log, 30)
    log = open_log()
    before = {path: path.read_bytes() for path in (tmp_path / "0").iterdir() if path.suffix != ".log"}
    for number in range(30, 40):
        log.append(make_batch(b"%d" % number, producer_id=5, epoch=0, sequence=number), NOW_MS + number)
    log.close()
    for path in (tmp_path / "0").iterdir():
        if path.suffix != ".log" and path not in before:
            path.unlink()
    for path, content in before.items():
        path.write_bytes(content)
    log = open_log()
    assert read_one_by_one == list(range(30, 40))
    assert values(log) == [b"%d" % number for number in range(40)]


@pytest.mark.parametrize("damage", ["missing", "empty", "flipped", "cut"])
@pytest.mark.parametrize("which", ["*.index", "*.snapshot"])
def test_marks_that_are_damaged_or_gone_cost_time_only(
    open_log: Open, tmp_path: Path, which: str, damage: str, read_one_by_one: list[int]
) -> None:
    log = open_log()
    fill(log)
    log.close()
    for path in (tmp_path / "0").glob(which):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes({"empty": b"", "flipped": bytes(content), "cut": bytes(content[:-3])}[damage])
    log = open_log()
    assert len(read_one_by_one) == 60
    assert values(log) == [b"%d" % number for number in range(60)]
    assert log.append(make_batch(b"59", producer_id=5, epoch=0, sequence=59), NOW_MS).base_offset == 59


def test_a_flipped_bit_below_a_mark_is_found_in_every_byte(open_log: Open, tmp_path: Path) -> None:
    log = open_log()
    fill(log)
    log.close()
    first = min((tmp_path / "0").glob("*.log"))
    sound = first.read_bytes()
    for at in range(0, len(sound), 37):
        damaged = bytearray(sound)
        damaged[at] ^= 0x10
        first.write_bytes(damaged)
        with pytest.raises(CannotStart, match="damaged at byte"):
            open_log()
    first.write_bytes(sound)
    assert len(values(open_log())) == 60


def test_producers_may_send_again_what_was_lost_with_the_end_of_the_log(open_log: Open, tmp_path: Path) -> None:
    log = open_log()
    fill(log)
    log.close()
    last = max((tmp_path / "0").glob("*.log"))
    last.write_bytes(last.read_bytes()[:-1])
    log = open_log()
    assert log.end_offset == 59
    assert not list((tmp_path / "0").glob("*.snapshot")), "it spoke of batches that are gone"
    assert log.append(make_batch(b"59", producer_id=5, epoch=0, sequence=59), NOW_MS).base_offset == 59
    assert log.end_offset == 60, "stored, not taken for a repetition"
