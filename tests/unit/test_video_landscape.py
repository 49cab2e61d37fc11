"""The made-up film that demonstrations show."""

import numpy as np

from video.landscape import landscape


def test_a_landscape_pans_over_still_hills_and_is_drawn_alike_each_time() -> None:
    first, later = (landscape(number, 96, 54, frames=48) for number in (0, 12))
    assert (first.shape, first.dtype) == ((54, 96, 3), np.uint8)
    assert np.array_equal(later, landscape(12, 96, 54, frames=48))
    # A quarter of the film later a quarter of the pan has passed; balloons are in the upper half.
    assert np.array_equal(later[27:, :-8], first[27:, 8:])
    assert not np.array_equal(later[:27, :-8], first[:27, 8:])
    assert first.std(axis=(0, 1)).min() > 20
