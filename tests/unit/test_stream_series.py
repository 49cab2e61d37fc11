"""Series are numbered as one name after the other would be."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.series import UNKNOWN, Series

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abcdef")), max_size=40)


@settings(deadline=None)
@given(pairs=PAIRS, cut=st.integers(0, 40), restored=st.booleans())
def test_pairs_of_device_and_sensor_are_numbered_in_order_of_appearance_up_to_the_limit(
    pairs: list[tuple[int, str]], cut: int, restored: bool
) -> None:
    limit = 12
    model: dict[tuple[int, str], int] = {}
    expected = []
    for pair in pairs:
        if len(model) < limit:
            model.setdefault(pair, len(model))
        expected.append(model.get(pair, UNKNOWN))
    series, found = Series(10, limit), []
    for part in (pairs[:cut], pairs[cut:]):
        device = np.array([device for device, _ in part], dtype=np.int32)
        found += series.series_ids(device, [sensor for _, sensor in part]).tolist()
        if restored:
            series = Series.restored(10, limit, [], series.sensors, series.device_of, series.sensor_of)
    assert found == expected
    assert [(d, series.sensors[s]) for d, s in zip(series.device_of, series.sensor_of, strict=True)] == list(model)
