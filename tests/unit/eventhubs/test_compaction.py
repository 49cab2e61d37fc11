from __future__ import annotations

import errno
import gzip
import random
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.local.eventhubs.errors import (
    CannotStart,
    MalformedBatch,
    OffsetOutOfRange,
    OutOfOrderSequence,
    StorageFailed,
)
from infra.local.eventhubs.log import partition as partition_module
from infra.local.eventhubs.log.batch import HEADER_BYTES, compose, end_of, read_header
from infra.local.eventhubs.log.compaction import Stopped
from infra.local.eventhubs.log.flush import Flusher
from infra.local.eventhubs.log.partition import PartitionLog
from infra.local.eventhubs.log.records import Unreadable, readable_payload
from infra.local.eventhubs.settings import LogSettings

from .batches import Keyed, keyed_records_of, make_batch, make_keyed_batch

NOW_MS = 1_700_000_000_000
DAY_MS = 24 * 3600 * 1000
EVERYTHING = 2**31
Open = Callable[..., PartitionLog]


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[Open]:
    """Opens (again) the log in the test's folder; a compaction is due after every byte."""
    opened: list[PartitionLog] = []

    def open_again(**changes: int) -> PartitionLog:
        for log in opened:
            log.close()
        limits = LogSettings(fsync="none", index_interval_bytes=128, compaction_bytes=1, **changes)  # type: ignore[arg-type]  # ints only
        opened.append(PartitionLog(tmp_path / "0", limits, Flusher("none", 0)))
        return opened[-1]

    yield open_again
    for log in opened:
        log.close()


def compact(log: PartitionLog, now_ms: int = NOW_MS, keep_tombstones_ms: int = DAY_MS) -> int:
    planned = log.plan_compaction(now_ms, keep_tombstones_ms, lambda: False)
    assert planned is not None
    return log.finish_compaction(planned.run())


def everything(log: PartitionLog) -> list[Keyed]:
    records, offset = [], log.start_offset
    while data := log.read(offset, EVERYTHING):
        records += keyed_records_of(data)
        assert end_of(data) > offset, "no progress"
        offset = end_of(data)
    return records


def test_of_every_key_the_last_record_stays_under_its_own_offset(open_log: Open) -> None:
    log = open_log()
    log.append(make_keyed_batch((b"a", b"1"), (b"b", b"1"), (b"a", b"2")), NOW_MS)
    log.append(make_keyed_batch((b"b", b"2")), NOW_MS)
    log.append(make_keyed_batch((None, b"keyless"), (b"c", b"1")), NOW_MS)
    assert compact(log) > 0
    expected = [(2, b"a", b"2"), (3, b"b", b"2"), (4, None, b"keyless"), (5, b"c", b"1")]
    assert everything(log) == expected
    assert everything(open_log()) == expected
    assert open_log().end_offset == 6


@pytest.mark.parametrize("compression", [0, 1])
def test_any_history_compacts_to_its_last_values_over_many_segments(open_log: Open, compression: int) -> None:
    chance = random.Random(compression)
    log = open_log(segment_bytes=2000)
    last: dict[bytes, tuple[int, bytes]] = {}
    for round_number in range(4):
        for _ in range(80):
            pairs = [(b"k%d" % chance.randrange(30), b"v%d" % chance.randrange(10**9)) for _ in range(3)]
            base = log.append(make_keyed_batch(*pairs, compression=compression), NOW_MS).base_offset
            last.update({key: (base + delta, value) for delta, (key, value) in enumerate(pairs)})
        end = log.end_offset
        compact(log)
        assert sorted(everything(log)) == sorted((offset, key, value) for key, (offset, value) in last.items())
        if round_number % 2:
            log = open_log(segment_bytes=2000)
        assert log.end_offset == end
    assert sorted(everything(log)) == sorted((offset, key, value) for key, (offset, value) in last.items())
    assert log.size_bytes < 10_000


def test_a_read_from_any_offset_goes_on_over_the_dropped_ones(open_log: Open) -> None:
    log = open_log()
    for number in range(50):
        log.append(make_keyed_batch((b"same", b"%d" % number)), NOW_MS + number)
    compact(log)
    for offset in range(50):
        data = log.read(offset, EVERYTHING)
        assert [each.offset for each in keyed_records_of(data)][-1] == 49
    assert log.find_time(NOW_MS) == (49, NOW_MS + 49)
    assert log.size_bytes < 250


def test_a_tombstone_stays_for_its_time_after_the_pass_that_saw_it_first(open_log: Open) -> None:
    log = open_log()
    log.append(make_keyed_batch((b"a", b"1"), (b"b", b"1")), NOW_MS)
    log.append(make_keyed_batch((b"a", None)), NOW_MS)
    much_later = NOW_MS + 10 * DAY_MS
    compact(log, much_later)
    assert everything(log) == [(1, b"b", b"1"), (2, b"a", None)]
    log = open_log()
    log.append(make_keyed_batch((b"c", b"1")), much_later)
    compact(log, much_later + DAY_MS - 1)
    assert (2, b"a", None) in everything(log)
    log.append(make_keyed_batch((b"c", b"2")), much_later)
    log.append(make_keyed_batch((b"c", b"3" * 500)), much_later)
    compact(log, much_later + DAY_MS)
    assert everything(log) == [(1, b"b", b"1"), (5, b"c", b"3" * 500)]


def test_a_producer_may_still_repeat_a_batch_whose_records_went(open_log: Open) -> None:
    log = open_log()
    first = make_keyed_batch((b"a", b"1"), producer=7)
    log.append(first, NOW_MS)
    log.append(make_keyed_batch((b"a", b"2")), NOW_MS)
    compact(log)
    log = open_log()
    assert log.append(first, NOW_MS).base_offset == 0
    assert log.end_offset == 2
    with pytest.raises(OutOfOrderSequence):
        log.append(make_batch(b"gap", producer_id=7, epoch=0, sequence=5), NOW_MS)
    assert everything(log) == [(1, b"a", b"2")]


def test_nothing_is_dropped_when_a_batch_cannot_be_read(open_log: Open) -> None:
    log = open_log()
    log.append(make_keyed_batch((b"a", b"1"), (b"a", b"2")), NOW_MS)
    strange = bytearray(make_keyed_batch((b"b", b"1")))
    strange[22] |= 4
    log.append(compose(read_header(bytes(strange)), bytes(strange[HEADER_BYTES:])), NOW_MS)
    planned = log.plan_compaction(NOW_MS, DAY_MS, lambda: False)
    assert planned is not None
    with pytest.raises(Unreadable):
        planned.run()
    assert log.size_bytes > 0
    assert log.plan_compaction(NOW_MS, DAY_MS, lambda: False) is None, "not again before there is more"


def test_a_crash_at_any_step_of_the_switch_leaves_a_whole_log(open_log: Open, tmp_path: Path) -> None:
    log = open_log(segment_bytes=400)
    for number in range(60):
        log.append(make_keyed_batch((b"k%d" % (number % 3), b"%d" % number)), NOW_MS)
    expected = [(57, b"k0", b"57"), (58, b"k1", b"58"), (59, b"k2", b"59")]
    log.configure(LogSettings(fsync="none", segment_bytes=2000, compaction_bytes=1))
    planned = log.plan_compaction(NOW_MS, DAY_MS, lambda: False)
    assert planned is not None
    replacements = planned.run()
    assert len(replacements) > 1
    assert len(replacements[0].old) > 1
    # The rename came through, the removal of what it covers did not, and the others are unfinished.
    replacements[0].new.rename(replacements[0].old[0].path)
    assert list((tmp_path / "0").glob("*.compacting"))
    log = open_log(segment_bytes=2000)
    assert not list((tmp_path / "0").glob("*.compacting"))
    assert [each for each in everything(log) if each.offset >= 57] == expected
    assert log.end_offset == 60
    compact(log)
    assert everything(log) == expected


def test_a_pass_whose_segments_were_deleted_meanwhile_is_given_up(open_log: Open, tmp_path: Path) -> None:
    log = open_log(segment_bytes=400)
    for number in range(20):
        log.append(make_keyed_batch((b"k", b"%d" % number)), NOW_MS)
    planned = log.plan_compaction(NOW_MS, DAY_MS, lambda: False)
    assert planned is not None
    replacements = planned.run()
    log.delete_before(15)
    assert log.finish_compaction(replacements) == 0
    assert not list((tmp_path / "0").glob("*.compacting"))
    assert everything(log)[-1] == (19, b"k", b"19")


def test_a_pass_stops_when_the_hub_closes_and_leaves_nothing(open_log: Open, tmp_path: Path) -> None:
    log = open_log()
    log.append(make_keyed_batch((b"k", b"1"), (b"k", b"2")), NOW_MS)
    planned = log.plan_compaction(NOW_MS, DAY_MS, lambda: True)
    assert planned is not None
    with pytest.raises(Stopped):
        planned.run()
    assert not list((tmp_path / "0").glob("*.compacting"))


def test_deleted_records_stay_deleted_and_the_log_goes_on(open_log: Open) -> None:
    log = open_log(segment_bytes=400)
    for number in range(20):
        log.append(make_keyed_batch((b"k", b"%d" % number)), NOW_MS)
    assert log.delete_before(7) == 7
    assert log.delete_before(3) == 7, "never back"
    with pytest.raises(OffsetOutOfRange):
        log.delete_before(21)
    log = open_log(segment_bytes=400)
    assert (log.start_offset, log.end_offset) == (7, 20)
    assert log.find_time(0) == (7, NOW_MS)
    assert log.delete_before(-1) == 20
    log = open_log(segment_bytes=400)
    assert (log.start_offset, log.end_offset, log.size_bytes) == (20, 20, 0)
    assert log.append(make_keyed_batch((b"k", b"new")), NOW_MS).base_offset == 20


def test_a_damaged_note_of_the_first_offset_is_refused_with_a_sentence(open_log: Open, tmp_path: Path) -> None:
    log = open_log()
    log.append(make_keyed_batch((b"k", b"1"), (b"k", b"2")), NOW_MS)
    log.delete_before(1)
    log.close()
    (tmp_path / "0" / "log-start").write_text("seven")
    with pytest.raises(CannotStart, match="first offset to keep"):
        open_log()


def test_a_compacted_log_refuses_records_without_a_key(open_log: Open) -> None:
    log = open_log()
    log.configure(LogSettings(fsync="none", needs_keys=True))
    for compression in (0, 1):
        with pytest.raises(MalformedBatch, match="needs a key"):
            log.append(make_keyed_batch((b"k", b"1"), (None, b"2"), compression=compression), NOW_MS)
        log.append(make_keyed_batch((b"k", b"1"), (b"", None), compression=compression), NOW_MS)
    assert log.end_offset == 4


def test_an_unflushed_rename_stops_the_partition_and_a_restart_goes_on(
    open_log: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(segment_bytes=400)
    for number in range(60):
        log.append(make_keyed_batch((b"k", b"%d" % number)), NOW_MS)
    log.configure(LogSettings(fsync="none", segment_bytes=2000, compaction_bytes=1))
    planned = log.plan_compaction(NOW_MS, DAY_MS, lambda: False)
    assert planned is not None
    replacements = planned.run()

    def fail(_directory: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(partition_module, "sync_directory", fail)
    with pytest.raises(StorageFailed, match="restart the hub"):
        log.finish_compaction(replacements)
    assert len(everything(log)) == 60, "the old files are still open"
    with pytest.raises(StorageFailed):
        log.append(make_keyed_batch((b"k", b"more")), NOW_MS)
    monkeypatch.undo()
    log = open_log(segment_bytes=400)
    assert everything(log)[-1] == (59, b"k", b"59")
    assert log.end_offset == 60


def test_a_search_by_time_passes_over_what_compaction_and_deletion_took(open_log: Open) -> None:
    log = open_log(segment_bytes=200)
    log.append(make_keyed_batch((b"first", b"1")), NOW_MS)
    for number in range(1, 20):
        log.append(make_keyed_batch((b"k", b"%d" % number)), NOW_MS + number)
    compact(log)
    assert log.find_time(NOW_MS + 1) == (19, NOW_MS + 19)
    log.append(make_keyed_batch((b"k", b"20")), NOW_MS + 20)
    assert log.find_time(NOW_MS + 20) == (20, NOW_MS + 20)
    log.delete_before(20)
    assert log.find_time(0) == (20, NOW_MS + 20)


def test_a_reader_is_never_given_empty_batches_alone_while_records_follow(open_log: Open) -> None:
    log = open_log(segment_bytes=200)
    for number in range(30):
        log.append(make_keyed_batch((b"k", b"%d" % number)), NOW_MS)
    compact(log)
    for offset in range(30):
        for max_bytes in (1, 70, EVERYTHING):
            assert keyed_records_of(log.read(offset, max_bytes))[-1] == (29, b"k", b"29")


def test_a_small_batch_that_would_decompress_to_gigabytes_is_not_read() -> None:
    bomb = gzip.compress(bytes(256 * 1024 * 1024), 1)
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="more than"):
            readable_payload(memoryview(bomb), attributes=1)
        assert tracemalloc.get_traced_memory()[1] < 160 * 1024 * 1024
    finally:
        tracemalloc.stop()
