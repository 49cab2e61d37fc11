from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from models.features import FEATURES
from models.names import raw_blob
from models.tables import Readings, encode_readings
from tests.fakes import FakeBlobs
from tests.unit.svm import SPEC, readings
from training.history import archived_readings, filter_readings, fingerprint, windows_by_series

A, B = ("a", "x"), ("b", "y")


def everything(chunk: Readings) -> Readings:
    return chunk


def part(of: Readings, index: slice) -> Readings:
    return Readings(of.device[index], of.sensor[index], of.ts_us[index], of.value[index], of.offset[index])


def test_each_series_gets_its_own_windows_whatever_the_chunks() -> None:
    whole = readings(A, B, minutes=5)
    chunks = [part(whole, slice(i, i + 7)) for i in range(0, len(whole), 7)]
    once = windows_by_series([whole], SPEC, max_windows=100)
    assert [windows.series for windows in once] == [A, B]
    assert [len(windows.start_us) for windows in once] == [5, 5]
    assert fingerprint(once, SPEC) == fingerprint(windows_by_series(chunks, SPEC, max_windows=100), SPEC)


def test_a_repeated_reading_counts_once_and_the_last_value_of_a_time_wins() -> None:
    first = readings(A, minutes=1)
    again = replace(first, value=first.value + 1)
    twice = windows_by_series([first, again], SPEC, max_windows=10)
    assert fingerprint(twice, SPEC) == fingerprint(windows_by_series([again], SPEC, max_windows=10), SPEC)


def test_only_the_latest_windows_are_kept() -> None:
    whole = readings(A, minutes=9)
    (windows,) = windows_by_series([whole], SPEC, max_windows=4)
    (full,) = windows_by_series([whole], SPEC, max_windows=9)
    np.testing.assert_array_equal(windows.start_us, full.start_us[-4:])
    np.testing.assert_array_equal(windows.features, full.features[-4:])


def test_windows_that_overflow_are_left_out() -> None:
    whole = readings(A, minutes=3)
    whole.value[:6] = [1e308, -1e308] * 3
    (windows,) = windows_by_series([whole], SPEC, max_windows=10)
    assert len(windows.start_us) == 2
    assert windows.features.shape == (2, len(FEATURES))


def test_no_readings_give_no_series() -> None:
    assert windows_by_series([], SPEC, max_windows=10) == []
    assert windows_by_series([part(readings(A), slice(0, 0))], SPEC, max_windows=10) == []


def test_the_archive_is_read_in_log_order_over_all_partitions() -> None:
    blobs = FakeBlobs()
    whole = readings(A, minutes=4)
    for first in (12, 0):
        blobs.create(raw_blob("hub", 0, first), encode_readings(part(whole, slice(first, first + 12))))
    blobs.create(raw_blob("hub", 1, 0), encode_readings(readings(B, minutes=1)))
    blobs.create(raw_blob("other", 0, 0), encode_readings(readings(("c", "z"))))
    chunks = archived_readings(blobs, "hub", everything)
    assert [(chunk.device[0], int(chunk.offset[0])) for chunk in chunks] == [("a", 0), ("a", 12), ("b", 0)]


def test_the_archive_can_be_cut_to_series_and_times() -> None:
    whole = readings(A, B, minutes=4)
    since, until = int(whole.ts_us[12]), int(whole.ts_us[24])
    cut = filter_readings(whole, {A}, since, until)
    assert set(cut.device) == {"a"}
    assert cut.ts_us.min() == since
    assert cut.ts_us.max() < until
    assert filter_readings(whole, None) is whole


def test_a_full_memory_budget_leaves_out_the_oldest_files(caplog: pytest.LogCaptureFixture) -> None:
    blobs = FakeBlobs()
    whole = readings(A, minutes=6)
    for first in range(0, 36, 12):
        blobs.clock.advance(1)
        blobs.create(raw_blob("hub", 0, first), encode_readings(part(whole, slice(first, first + 12))))
    with caplog.at_level(logging.WARNING):
        chunks = archived_readings(blobs, "hub", everything, max_readings=20)
    assert [int(chunk.offset[0]) for chunk in chunks] == [12, 24]
    assert "left out" in caplog.text


def test_a_file_that_is_no_parquet_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    blobs = FakeBlobs()
    blobs.create(raw_blob("hub", 0, 0), b"torn")
    blobs.create(raw_blob("hub", 0, 1), encode_readings(readings(A, minutes=1)))
    assert len(archived_readings(blobs, "hub", everything)) == 1
    assert "passed over" in caplog.text
