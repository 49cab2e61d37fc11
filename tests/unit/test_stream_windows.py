"""The columnar windows against a model that takes one reading at a time."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.windowspec import WindowSpec
from stream.windows import OpenWindows, Rows

S = 1_000_000
TUMBLING, HOPPING = WindowSpec(60, 60), WindowSpec(30, 10)
LATENESS_S, IDLE_S = 5, 40


@dataclass
class OneByOne:
    """The contract, read literally: each reading in log order."""

    spec: WindowSpec
    largest: dict[int, int] = field(default_factory=dict)
    forced: dict[int, int] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    open: dict[tuple[int, int], list[tuple[int, float]]] = field(default_factory=dict)
    closed: list[tuple[int, int, tuple[tuple[int, float], ...]]] = field(default_factory=list)

    def add(self, device: int, series: int, ts: int, value: float, append: int) -> bool:
        marker = series < 0
        if device in self.largest and (marker or append - self.seen[device] > IDLE_S * S):
            last_start = self.largest[device] // self.spec.hop_us * self.spec.hop_us
            self.forced[device] = max(self.forced.get(device, 0), last_start + self.spec.size_us)
            self._close(device)
        self.seen[device] = append
        if marker:
            return False
        pane = ts // self.spec.hop_us * self.spec.hop_us
        starts = [pane - k * self.spec.hop_us for k in range(self.spec.panes)]
        still_open = [start for start in starts if start + self.spec.size_us > self._closed_through(device)]
        for start in still_open:
            self.open.setdefault((series, start), []).append((ts, value))
        self.largest[device] = max(self.largest.get(device, ts), ts)
        self._close(device)
        return not still_open

    def _closed_through(self, device: int) -> int:
        watermark = self.largest[device] - LATENESS_S * S if device in self.largest else -(10**18)
        return max(watermark, self.forced.get(device, -(10**18)))

    def _close(self, device: int) -> None:
        for series, start in sorted(self.open):
            if series // 2 == device and start + self.spec.size_us <= self._closed_through(device):
                latest = dict(self.open.pop((series, start)))
                self.closed.append((series, start, tuple(sorted(latest.items()))))


def rows_of(items: list[tuple[int, int, int, float, int]]) -> Rows:
    device, series, ts, value, append = zip(*items, strict=True) if items else ([], [], [], [], [])
    return Rows(
        np.array(device, dtype=np.int32),
        np.array(series, dtype=np.int32),
        np.array(ts, dtype=np.int64),
        np.array(value, dtype=np.float64),
        np.array(append, dtype=np.int64),
    )


DEVICE_OF = np.array([0, 0, 1, 1, 2, 2], dtype=np.int32)


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[int, int, int, float, int]]:
    steps = draw(
        st.lists(
            st.tuples(
                st.integers(0, 5),
                st.booleans(),
                st.integers(-50, 90),
                st.integers(0, 9),
                st.sampled_from([0, 0, 1, 5, 45]),
            ),
            max_size=60,
        )
    )
    log, event_time, append = [], 1_000, 10_000
    for series, rarely, shift, value, wait in steps:
        append += wait
        event_time += max(shift, 0) // 8
        marker = rarely and shift > 80
        ts = max(event_time + shift, 0) * S
        log.append((series // 2, -1 if marker else series, ts, float(value), append * S))
    return log


@pytest.mark.parametrize("spec", [TUMBLING, HOPPING], ids=lambda spec: spec.name)
@settings(max_examples=300, deadline=None)
@given(log=logs(), cuts=st.lists(st.integers(0, 60), max_size=6), take_at=st.integers(0, 7))
def test_any_chunking_closes_the_windows_that_one_reading_at_a_time_closes(
    spec: WindowSpec, log: list[tuple[int, int, int, float, int]], cuts: list[int], take_at: int
) -> None:
    model = OneByOne(spec)
    expected_late = [model.add(*item) for item in log]
    windows = OpenWindows(spec, lateness_us=LATENESS_S * S, idle_us=IDLE_S * S)
    late: list[bool] = []
    closed: dict[tuple[int, int], tuple[int, list[float]]] = {}

    def take() -> None:
        batch = windows.take_closed(DEVICE_OF)
        if batch is not None:
            for i, (series, start) in enumerate(zip(batch.series.tolist(), batch.start_us.tolist(), strict=True)):
                assert (series, start) not in closed
                closed[series, start] = (int(batch.features.count[i]), batch.features.values[i].tolist())

    bounds = sorted({0, len(log), *(cut for cut in cuts if cut < len(log))})
    for i, (a, b) in enumerate(pairwise(bounds)):
        late += windows.add(rows_of(log[a:b])).tolist()
        if i % 2 == take_at % 2:
            take()
    take()
    assert late == expected_late
    assert {(s, w): len(r) for s, w, r in model.closed} == {key: count for key, (count, _) in closed.items()}
    for series, start, readings in model.closed:
        values = [value for _, value in readings]
        features = closed[series, start][1]
        assert features[0] == pytest.approx(np.mean(values))
        assert features[2:5] == pytest.approx([min(values), max(values), float(np.median(values))])
        assert features[6] == values[-1] - values[0]
    assert windows.closable() is False


def test_features_do_not_depend_on_chunking_by_a_single_bit() -> None:
    rng = np.random.default_rng(7)
    items = [
        (int(s) // 2, int(s), int(t), float(v), 0)
        for s, t, v in zip(
            rng.integers(0, 6, 5000), np.sort(rng.integers(0, 600 * S, 5000)), rng.normal(1e6, 1, 5000), strict=True
        )
    ]
    results = []
    for size in (5000, 999, 7):
        windows = OpenWindows(TUMBLING, lateness_us=LATENESS_S * S, idle_us=10**15)
        found = {}
        for a in range(0, len(items), size):
            windows.add(rows_of(items[a : a + size]))
            if batch := windows.take_closed(DEVICE_OF):
                for i in range(len(batch.series)):
                    key = (int(batch.series[i]), int(batch.start_us[i]))
                    found[key] = batch.features.values[i].tobytes()
        results.append(found)
    assert results[0] == results[1] == results[2]
    assert len(results[0]) > 40


def test_a_device_far_in_the_future_does_not_close_windows_of_others() -> None:
    windows = OpenWindows(TUMBLING, lateness_us=0, idle_us=10**15)
    windows.add(rows_of([(0, 0, 10 * S, 1.0, 0), (1, 2, 4_000_000_000 * S, 1.0, 0)]))
    assert not windows.closable()
    assert windows.add(rows_of([(0, 0, 20 * S, 1.0, 0)])).tolist() == [False]
