"""Checkpoints give back the state they were made of, or say why not."""

import numpy as np
import pytest

from models.errors import BadInput
from models.windowspec import WindowSpec
from stream.checkpoint import Checkpoint, Counters, decode_checkpoint, encode_checkpoint
from stream.series import Series
from stream.windows import OpenWindows, Rows

S = 1_000_000
HOPPING = WindowSpec(30, 10)


def open_windows(spec: WindowSpec) -> OpenWindows:
    return OpenWindows(spec, lateness_us=5 * S, idle_us=60 * S)


def some_state() -> Checkpoint:
    series, windows = Series(10, 20), open_windows(HOPPING)
    device = series.device_ids(["a", "b", "a", "Ω"])
    numbers = series.series_ids(device, ["t", "t", "u", "t"])
    ts_us = np.array([100, 5_000, 104, 4_000_000], dtype=np.int64) * S
    windows.add(Rows(device, numbers, ts_us, np.arange(4.0), np.full(4, 9_000 * S)))
    return Checkpoint(17, 3, 16, 9_000 * S, Counters(events=17, readings=4), series, windows)


def test_what_was_stored_comes_back_and_goes_on_as_before() -> None:
    before = some_state()
    after = decode_checkpoint(encode_checkpoint(before), max_devices=10, max_series=20, empty=open_windows(HOPPING))
    assert (after.offset, after.next_seq, after.archived, after.append_us) == (17, 3, 16, 9_000 * S)
    assert after.counters == before.counters
    assert (after.series.devices, after.series.sensors) == (before.series.devices, before.series.sensors)
    more = Rows(
        np.array([0, 3], dtype=np.int32),
        np.array([0, 3], dtype=np.int32),
        np.array([200, 4_000_100], dtype=np.int64) * S,
        np.ones(2),
        np.full(2, 9_001 * S),
    )
    for state in (before, after):
        assert state.windows.add(more).tolist() == [False, False]
    closed_before = before.windows.take_closed(before.series.device_of)
    closed_after = after.windows.take_closed(after.series.device_of)
    assert closed_before is not None
    assert closed_after is not None
    assert closed_after.start_us.tolist() == closed_before.start_us.tolist()
    assert closed_after.features.values.tobytes() == closed_before.features.values.tobytes()


def test_series_beyond_two_bytes_stay_apart() -> None:
    windows = open_windows(WindowSpec(60, 60))
    device = np.zeros(3, dtype=np.int32)
    for low in (0, 65_534):
        numbers = np.arange(low, low + 3, dtype=np.int32)
        windows.add(Rows(device, numbers, np.full(3, 100 * S), np.arange(3.0), np.full(3, 9_000 * S)))
    windows.add(Rows(device[:1], np.array([-1], dtype=np.int32), np.zeros(1, np.int64), np.zeros(1), np.full(1, S)))
    closed = windows.take_closed(np.zeros(70_000, dtype=np.int32))
    assert closed is not None
    assert closed.series.tolist() == [0, 1, 2, 65_534, 65_535, 65_536]


def test_an_empty_state_can_be_stored() -> None:
    empty = Checkpoint(0, 0, 0, 0, Counters(), Series(10, 20), open_windows(HOPPING))
    assert (
        decode_checkpoint(encode_checkpoint(empty), max_devices=10, max_series=20, empty=open_windows(HOPPING)).offset
        == 0
    )


def test_a_checkpoint_of_other_windows_is_refused() -> None:
    with pytest.raises(BadInput, match="expected version 1 of tumbling-60s, got 1 of hopping-30s-10s"):
        decode_checkpoint(
            encode_checkpoint(some_state()), max_devices=10, max_series=20, empty=open_windows(WindowSpec(60, 60))
        )


@pytest.mark.parametrize("cut", [0, 3, 50, -1])
def test_a_cut_blob_is_refused(cut: int) -> None:
    with pytest.raises(BadInput):
        decode_checkpoint(
            encode_checkpoint(some_state())[:cut], max_devices=10, max_series=20, empty=open_windows(HOPPING)
        )
