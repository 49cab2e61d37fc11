from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.eventhubs.errors import (
    BatchTooLarge,
    CannotStart,
    CorruptBatch,
    MalformedBatch,
    StorageFailed,
    UnsupportedBatch,
)
from infra.local.eventhubs.log.flush import Flusher
from infra.local.eventhubs.log.partition import PartitionLog
from infra.local.eventhubs.settings import LogSettings

from .batches import make_batch, records_of, split

NOW_MS = 1_700_000_000_000
EVERYTHING = 2**31
Open = Callable[..., PartitionLog]


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[Open]:
    """Opens (again) the log in the test's folder, unflushed, with small segments on request."""
    opened: list[PartitionLog] = []

    def open_again(directory: Path | None = None, **changes: int) -> PartitionLog:
        for log in opened:
            log.close()
        limits = LogSettings(fsync="none", index_interval_bytes=128, **changes)  # type: ignore[arg-type]  # ints only
        opened.append(PartitionLog(directory or tmp_path / "0", limits, Flusher("none", 0)))
        return opened[-1]

    yield open_again
    for log in opened:
        log.close()


def values_from(log: PartitionLog, offset: int = 0) -> list[bytes]:
    """All records from an offset on, across segments."""
    values = []
    while data := log.read(offset, EVERYTHING):
        records = records_of(data)
        values += [record.value for record in records if record.offset >= offset]
        offset = records[-1].offset + 1
    return values


def test_records_come_back_with_offsets_and_append_time(open_log: Open) -> None:
    log = open_log()
    log.append(make_batch(b"a", b"b"), NOW_MS)
    appended = log.append(make_batch(b"c"), NOW_MS + 5)
    assert (appended.base_offset, appended.next_offset, appended.append_ms) == (2, 3, NOW_MS + 5)
    assert records_of(log.read(0, EVERYTHING)) == [
        (0, NOW_MS, b"a"),
        (1, NOW_MS, b"b"),
        (2, NOW_MS + 5, b"c"),
    ]


def test_compressed_batches_are_kept_compressed(open_log: Open) -> None:
    log = open_log()
    batch = make_batch(b"z" * 5000, compression=1)
    log.append(batch, NOW_MS)
    stored = log.read(0, EVERYTHING)
    assert len(stored) == len(batch) < 500
    assert records_of(stored)[0].value == b"z" * 5000


def test_append_times_never_decrease_even_if_the_clock_does(open_log: Open) -> None:
    log = open_log()
    log.append(make_batch(b"a"), NOW_MS)
    assert log.append(make_batch(b"b"), NOW_MS - 1000).append_ms == NOW_MS
    log = open_log()
    assert log.append(make_batch(b"c"), NOW_MS - 1000).append_ms == NOW_MS


def test_a_log_cut_at_any_byte_of_its_last_batch_keeps_all_earlier_ones(open_log: Open, tmp_path: Path) -> None:
    log = open_log()
    for value in (b"first", b"second", b"the last"):
        log.append(make_batch(value), NOW_MS)
    whole = (tmp_path / "0" / f"{0:020d}.log").read_bytes()
    last = len(whole) - len(make_batch(b"the last"))
    for cut in range(last, len(whole)):
        directory = tmp_path / f"cut-{cut}"
        directory.mkdir()
        (directory / f"{0:020d}.log").write_bytes(whole[:cut])
        log = open_log(directory)
        assert values_from(log) == [b"first", b"second"], f"cut at {cut}"
        assert log.append(make_batch(b"next"), NOW_MS).base_offset == 2
        assert values_from(open_log(directory)) == [b"first", b"second", b"next"]


BASE_OFFSET_BYTES = 8


def test_a_log_with_any_byte_of_its_last_batch_flipped_never_serves_that_batch(
    open_log: Open, tmp_path: Path
) -> None:
    log = open_log()
    for value in (b"first", b"second", b"the last"):
        log.append(make_batch(value), NOW_MS)
    whole = (tmp_path / "0" / f"{0:020d}.log").read_bytes()
    last = len(whole) - len(make_batch(b"the last"))
    for position in range(last, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x40
        directory = tmp_path / f"flip-{position}"
        directory.mkdir()
        (directory / f"{0:020d}.log").write_bytes(damaged)
        if position < last + BASE_OFFSET_BYTES:
            # No checksum covers it: the batch is whole, and claims that others stood before it.
            with pytest.raises(CannotStart, match="a whole batch follows"):
                open_log(directory)
            continue
        log = open_log(directory)
        assert values_from(log) == [b"first", b"second"], f"flipped at {position}"
        kept = directory / f"{0:020d}.cut-{last}"
        assert kept.read_bytes() == damaged[last:], "what is cut off is set aside"


def test_a_damaged_earlier_segment_is_refused_with_its_name_and_left_as_it_is(open_log: Open, tmp_path: Path) -> None:
    log = open_log(segment_bytes=100)
    for value in (b"first", b"second", b"third"):
        log.append(make_batch(value), NOW_MS)
    path = tmp_path / "0" / f"{1:020d}.log"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CannotStart, match=f"{1:020d}.log is damaged at byte 0, before offset 1"):
        open_log()
    assert path.read_bytes() == damaged


def test_a_missing_segment_is_refused(open_log: Open, tmp_path: Path) -> None:
    log = open_log(segment_bytes=100)
    for value in (b"first", b"second", b"third"):
        log.append(make_batch(value), NOW_MS)
    (tmp_path / "0" / f"{1:020d}.log").unlink()
    with pytest.raises(CannotStart, match="does not follow offset 0"):
        open_log()


@pytest.mark.parametrize("failure", ["disk full", "short write"])
def test_a_failed_write_stores_nothing_and_the_next_one_works(
    open_log: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    log = open_log()
    log.append(make_batch(b"before"), NOW_MS)
    path = tmp_path / "0" / f"{0:020d}.log"
    size = path.stat().st_size
    whole_write = os.pwritev

    def fail(fd: int, pieces: list[bytes], position: int) -> int:
        if failure == "disk full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole_write(fd, [pieces[0]], position)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", fail)
        with pytest.raises(StorageFailed, match="nothing was stored"):
            log.append(make_batch(b"lost"), NOW_MS)
    assert path.stat().st_size == size
    assert "nothing was stored" in str(log.trouble(NOW_MS + 59_000))
    assert log.trouble(NOW_MS + 60_000) is None
    assert log.append(make_batch(b"after"), NOW_MS).base_offset == 1
    assert log.trouble(NOW_MS) is None
    assert values_from(open_log()) == [b"before", b"after"]


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=30),
    segment_bytes=st.integers(80, 2000),
    limit=st.integers(1, 3000),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_read_gives_whole_batches_from_the_one_that_holds_the_offset(
    open_log: Open,
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    segment_bytes: int,
    limit: int,
) -> None:
    directory = tmp_path_factory.mktemp("log") / "0"
    log = open_log(directory, segment_bytes=segment_bytes)
    firsts = []
    for size in sizes:
        firsts.append(log.append(make_batch(*[b"v" * size] * size), NOW_MS).base_offset)
    for reopened in (False, True):
        if reopened:
            log = open_log(directory, segment_bytes=segment_bytes)
        for offset in range(log.end_offset):
            batches = split(log.read(offset, limit))
            records = records_of(b"".join(batches))
            assert records[0].offset == max(first for first in firsts if first <= offset)
            assert [record.offset for record in records] == list(range(records[0].offset, records[-1].offset + 1))
            assert len(batches) == 1 or sum(map(len, batches)) <= limit
        assert log.read(log.end_offset, limit) == b""
        assert len(values_from(log)) == log.end_offset


@given(steps=st.lists(st.integers(0, 3), min_size=1, max_size=40), segment_bytes=st.integers(80, 1500))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_time_finds_the_first_record_appended_then_or_later(
    open_log: Open, tmp_path_factory: pytest.TempPathFactory, steps: list[int], segment_bytes: int
) -> None:
    log = open_log(tmp_path_factory.mktemp("log") / "0", segment_bytes=segment_bytes)
    now = NOW_MS
    appended = []
    for step in steps:
        now += step
        appended.append(log.append(make_batch(b"a", b"b"), now))
    for time_ms in range(NOW_MS - 1, now + 3):
        expected = next(((each.base_offset, each.append_ms) for each in appended if each.append_ms >= time_ms), None)
        assert log.find_time(time_ms) == expected


def test_retention_by_time_deletes_whole_segments_and_offsets_go_on_after_a_restart(open_log: Open) -> None:
    log = open_log(segment_bytes=100)
    for age in (50, 40, 10):
        log.append(make_batch(b"v"), NOW_MS - age)
    assert log.retain(NOW_MS, retention_ms=20, retention_bytes=-1) == 2
    assert (log.start_offset, log.end_offset) == (2, 3)
    assert log.retain(NOW_MS + 100, retention_ms=20, retention_bytes=-1) == 1
    assert (log.start_offset, log.end_offset) == (3, 3)
    log = open_log(segment_bytes=100)
    assert log.append(make_batch(b"v"), NOW_MS).base_offset == 3


def test_retention_by_size_keeps_at_least_the_allowed_bytes(open_log: Open) -> None:
    log = open_log(segment_bytes=100)
    size = len(make_batch(b"v"))
    for _ in range(5):
        log.append(make_batch(b"v"), NOW_MS)
    log.retain(NOW_MS, retention_ms=-1, retention_bytes=2 * size + 1)
    assert log.size_bytes == 3 * size
    assert log.start_offset == 2


def test_an_old_format_a_transaction_and_damage_are_refused(open_log: Open) -> None:
    log = open_log(max_batch_bytes=1000)
    batch = make_batch(b"v")
    flipped = batch[:-1] + bytes([batch[-1] ^ 1])
    old = batch[:16] + b"\1" + batch[17:]
    transactional = batch[:22] + bytes([batch[22] | 0x10]) + batch[23:]
    for refused, reason in (
        (b"", MalformedBatch),
        (batch[:60], MalformedBatch),
        (batch + b"x", MalformedBatch),
        (batch + batch, MalformedBatch),
        (flipped, CorruptBatch),
        (old, UnsupportedBatch),
        (transactional, UnsupportedBatch),
        (make_batch(b"v" * 1000), BatchTooLarge),
    ):
        with pytest.raises(reason):
            log.append(refused, NOW_MS)
    assert log.end_offset == 0
