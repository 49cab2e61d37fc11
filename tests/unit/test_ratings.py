"""Ratings as columns."""

import numpy as np
import pytest

from models.errors import BadInput
from models.recommend.ratings import Ratings, in_id_order


def test_ids_that_are_numbers_are_ordered_by_number_and_others_by_code_point() -> None:
    assert in_id_order(["10", "9", "9", "100"]) == ["9", "10", "100"]
    assert in_id_order(["10", "9", "a"]) == ["10", "9", "a"]
    assert in_id_order(["01", "1", "0"]) == ["0", "01", "1"]


def test_rows_refer_to_their_ids() -> None:
    ratings = Ratings.of(["u2", "u1", "u2"], ["10", "9", "9"], [3, 4.5, 5], [7, 8, 9])
    assert [ratings.users[code] for code in ratings.user] == ["u2", "u1", "u2"]
    assert [ratings.items[code] for code in ratings.item] == ["10", "9", "9"]
    assert (ratings.value.dtype, ratings.value.tolist()) == (np.float32, [3, 4.5, 5])
    assert ratings.time_s.tolist() == [7, 8, 9]


def test_chosen_rows_keep_the_ids_of_all() -> None:
    ratings = Ratings.of(["a", "b"], ["x", "y"], [1, 2])
    chosen = ratings.rows(np.array([False, True]))
    assert (chosen.users, chosen.items, chosen.user.tolist()) == (["a", "b"], ["x", "y"], [1])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_rating_that_is_no_number_is_bad_input_with_its_row(value: float) -> None:
    with pytest.raises(BadInput, match=r"expected a finite rating, got (nan|inf) in row 1"):
        Ratings.of(["a", "b"], ["x", "y"], [1, value])


def test_columns_of_different_length_are_bad_input() -> None:
    with pytest.raises(BadInput, match="columns differ in length: 2 users, 1 items, 2 values"):
        Ratings.of(["a", "b"], ["x"], [1, 2])
