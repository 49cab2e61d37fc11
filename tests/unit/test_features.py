"""Features of windows, where a faster way to them must give the same bits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.features import FEATURES, reduce_readings

_VALUES = st.lists(st.sampled_from((-1.5, -0.0, 0.0, 0.1, 0.3, 1e308, 1.7e308)), min_size=1, max_size=7)


@given(st.lists(_VALUES, min_size=1, max_size=6))
def test_medians_are_to_the_bit_those_of_each_window_sorted_by_value_and_then_by_time(
    windows: list[list[float]],
) -> None:
    number = np.repeat(np.arange(len(windows)), [len(values) for values in windows])
    time = np.concatenate([np.arange(len(values)) for values in windows])

    features = reduce_readings(number, time, np.concatenate(windows))

    expected = []
    for values in windows:
        ranked = sorted(values)
        low, high = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
        expected.append(low if low == high else low / 2 + high / 2)
    assert features.values[:, FEATURES.index("median")].tobytes() == np.array(expected).tobytes()
