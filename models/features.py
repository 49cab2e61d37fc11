"""Window features: the one place where readings become numbers that a model sees.

Training and stream both call `reduce_readings`, so a model is fitted on exactly what it will score. All sums run
over a window's readings in time order, never in arrival order, so neither chunking nor replay changes a bit.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.windowspec import WindowSpec

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

FEATURES: Final = ("mean", "std", "min", "max", "median", "slope", "delta", "roughness")
"""mean, population standard deviation, minimum, maximum, median, least-squares slope per second, last minus first,
mean absolute difference of neighbours. The count is left out on purpose: a window cut short is not an anomaly."""


@dataclass(frozen=True, slots=True)
class WindowFeatures:
    """Features of m windows, in ascending order of `window`; all arrays have length m."""

    window: Int64
    count: npt.NDArray[np.int32]
    duplicates: npt.NDArray[np.int32]
    """Readings superseded by a later one with the same time stamp."""
    values: Float64
    """(m, len(FEATURES)); not finite where readings overflow."""


def reduce_readings(window: Int64, ts_us: Int64, values: Float64) -> WindowFeatures:
    """Features per window of n readings given in log order.

    window, ts_us: int64 (n,); values: float64 (n,). Of readings with equal (window, ts_us) the last one counts.
    """
    order = np.lexsort((ts_us, window))
    window, ts_us, values = window[order], ts_us[order], values[order]
    starts, last_of_ts = _runs(window), np.empty(len(window), dtype=bool)
    last_of_ts[-1:] = True
    np.not_equal(window[1:], window[:-1], out=last_of_ts[:-1])
    last_of_ts[:-1] |= ts_us[1:] != ts_us[:-1]
    arrived = np.diff(starts, append=len(window))
    if not last_of_ts.all():
        window, ts_us, values = window[last_of_ts], ts_us[last_of_ts], values[last_of_ts]
        starts = _runs(window)
    count = np.diff(starts, append=len(window))
    return WindowFeatures(
        window=window[starts],
        count=count.astype(np.int32),
        duplicates=(arrived - count).astype(np.int32),
        values=_features(starts, count, ts_us, values),
    )


def windows_of_history(
    series: Int64, ts_us: Int64, values: Float64, spec: WindowSpec
) -> tuple[Int64, Int64, WindowFeatures]:
    """Series and start (epoch microseconds) of every window that n readings fall into, with its features.

    series: int64 (n,), small non-negative numbers; readings in log order. For training on a stored history: the
    windows are those the stream makes of the same readings when none is late.
    """
    if len(series) == 0:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty, reduce_readings(empty, empty, np.empty(0))
    pane = ts_us // spec.hop_us
    first_pane = int(pane.min()) - spec.panes + 1
    slots = int(pane.max()) - first_pane + 1
    back = np.tile(np.arange(spec.panes, dtype=np.int64), len(series))
    reading = np.repeat(np.arange(len(series)), spec.panes)
    slot = pane[reading] - back - first_pane
    features = reduce_readings(series[reading] * slots + slot, ts_us[reading], values[reading])
    return (
        features.window // slots,
        (features.window % slots + first_pane) * spec.hop_us,
        features,
    )


def _runs(sorted_keys: Int64) -> Int64:
    """Start index of each run of equal keys."""
    if len(sorted_keys) == 0:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate(([True], sorted_keys[1:] != sorted_keys[:-1])))


def _features(starts: Int64, count: Int64, ts_us: Int64, values: Float64) -> Float64:
    """FEATURES of segments [starts[i], starts[i] + count[i]) of time-ordered readings."""
    result = np.zeros((len(starts), len(FEATURES)))
    if len(starts) == 0:
        return result
    first, last = starts, starts + count - 1
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mean = np.add.reduceat(values, starts) / count
        centred = values - np.repeat(mean, count)
        seconds = (ts_us - np.repeat(ts_us[first], count)) / 1e6
        seconds -= np.repeat(np.add.reduceat(seconds, starts) / count, count)
        time_spread = np.add.reduceat(seconds * seconds, starts)
        covariance = np.add.reduceat(seconds * centred, starts)
        steps = np.abs(np.diff(values, prepend=values[:1]))
        steps[first] = 0.0
        result[:, 0] = mean
        result[:, 1] = np.sqrt(np.add.reduceat(centred * centred, starts) / count)
        result[:, 2] = np.minimum.reduceat(values, starts)
        result[:, 3] = np.maximum.reduceat(values, starts)
        result[:, 4] = _medians(starts, count, values)
        result[:, 5] = np.where(time_spread > 0, covariance / time_spread, 0.0)
        result[:, 6] = values[last] - values[first]
        result[:, 7] = np.add.reduceat(steps, starts) / np.maximum(count - 1, 1)
    return result


def _medians(starts: Int64, count: Int64, values: Float64) -> Float64:
    """Median of each segment; those of one length are sorted together, as rows of a matrix."""
    medians = np.empty(len(starts))
    for length in np.unique(count).tolist():
        alike = np.flatnonzero(count == length)
        medians[alike] = _medians_of_rows(values[starts[alike, np.newaxis] + np.arange(length)])
    return medians


def _medians_of_rows(rows: Float64) -> Float64:
    low_at, high_at = (rows.shape[1] - 1) // 2, rows.shape[1] // 2
    ranked = np.sort(rows, axis=1)
    low, high = ranked[:, low_at], ranked[:, high_at]
    # Which of 0.0 and -0.0 a fast sort puts in the middle is chance: the earlier reading goes first.
    zero = np.flatnonzero((low == 0) & (high == 0))
    low[zero] = np.sort(rows[zero], axis=1, kind="stable")[:, low_at]
    middle: Float64 = np.where(low == high, low, low / 2 + high / 2)
    return middle
