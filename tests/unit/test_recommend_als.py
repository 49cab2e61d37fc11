"""Native ALS: what its factors satisfy."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from models.errors import BadInput
from models.recommend.ratings import Ratings
from training.recommend.als import AlsOptions, Objective
from training.recommend.native import fit_native


def some_ratings(users: int = 30, items: int = 20, seed: int = 0) -> Ratings:
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((users, items)) < 0.4)
    return Ratings.of([str(u) for u in user], [str(i) for i in item], rng.integers(1, 6, len(user)))


@pytest.mark.parametrize(
    "options",
    [
        AlsOptions(factors=5, regularization=3, alpha=2, iterations=4),
        AlsOptions(factors=5, regularization=3, alpha=2, iterations=4, confidence="ratings"),
        AlsOptions(factors=5, regularization=0.1, iterations=4, objective="explicit"),
    ],
)
def test_a_user_vector_solves_the_normal_equations_for_the_final_item_vectors(options: AlsOptions) -> None:
    ratings = some_ratings()
    model = fit_native(ratings, options)
    for user in range(len(ratings.users)):
        rows = ratings.user == user
        chosen, value = model.item_factors[ratings.item[rows]].astype(float), ratings.value[rows]
        assert options.regularization is not None
        if options.objective == "explicit":
            gram, ridge, weight, target = 0.0, rows.sum() * options.regularization, np.ones(len(value)), value
        else:
            confidence = options.alpha * (value if options.confidence == "ratings" else np.ones(len(value)))
            gram, ridge = model.item_factors.T.astype(float) @ model.item_factors, options.regularization
            weight, target = confidence - 1, confidence
        left = gram + ridge * np.eye(5) + (chosen.T * weight) @ chosen
        np.testing.assert_allclose(model.user_factors[user], np.linalg.solve(left, chosen.T @ target), atol=1e-4)


@pytest.mark.parametrize("objective", get_args(Objective))
def test_the_same_seed_gives_the_same_factors_on_any_number_of_threads(objective: Objective) -> None:
    options = AlsOptions(factors=4, regularization=0.5, iterations=3, objective=objective)
    one, three = (fit_native(some_ratings(), options, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one.item_factors, three.item_factors)
    np.testing.assert_array_equal(one.user_factors, three.user_factors)


@pytest.mark.parametrize("objective", get_args(Objective))
def test_users_and_items_without_ratings_have_zero_vectors(objective: Objective) -> None:
    ratings = some_ratings()
    part = ratings.rows((ratings.user != 3) & (ratings.item != 7))
    model = fit_native(part, AlsOptions(factors=4, regularization=0.5, objective=objective))
    assert not model.user_factors[3].any()
    assert not model.item_factors[7].any()
    assert model.user_factors[2].any()
    assert model.item_factors[6].any()


def test_explicit_factors_recover_ratings_of_low_rank() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.5, 1.5, (40, 2)) @ rng.uniform(0.5, 1.5, (2, 30))
    user, item = np.nonzero(rng.random(truth.shape) < 0.7)
    ratings = Ratings.of([str(u) for u in user], [str(i) for i in item], truth[user, item])
    model = fit_native(ratings, AlsOptions(objective="explicit", factors=2, regularization=1e-4, iterations=30))
    unseen = np.argwhere(~np.isin(np.arange(truth.size).reshape(truth.shape), user * 30 + item)).astype(np.int32)
    assert np.abs(model.predict(unseen[:, 0], unseen[:, 1]) - truth[unseen[:, 0], unseen[:, 1]]).max() < 0.1


def test_regularization_that_is_not_given_grows_with_the_ratings_and_is_reported() -> None:
    small, large = (fit_native(some_ratings(users=n), AlsOptions(factors=2)) for n in (10, 90))
    # 1.9 (sqrt(8) + sqrt(4)) if every pair had a rating with a chance of .4, as here.
    assert small.options.regularization == pytest.approx(1.9 * (8**0.5 + 4**0.5), rel=0.1)
    assert (large.options.regularization or 0) > (small.options.regularization or 0)
    assert small.parameters()["regularization_by"] == "rule"
    given = fit_native(some_ratings(), AlsOptions(factors=2, regularization=3))
    assert (given.options.regularization, given.parameters()["regularization_by"]) == (3, "choice")


def test_progress_counts_iterations() -> None:
    done: list[int] = []
    fit_native(some_ratings(), AlsOptions(factors=2, iterations=3), progress=done.append)
    assert done == [1, 2, 3]


def test_what_cannot_be_fitted_is_bad_input() -> None:
    ratings = some_ratings()
    with pytest.raises(BadInput, match="expected ratings, got none"):
        fit_native(ratings.rows(np.array([], dtype=np.int64)), AlsOptions())
    with pytest.raises(BadInput, match="1 of 3 ratings repeat a"):
        fit_native(Ratings.of(["a", "a", "b"], ["x", "x", "x"], [1, 2, 3]), AlsOptions())
    with pytest.raises(BadInput, match="ratings above 0, got 0"):
        fit_native(Ratings.of(["a", "b"], ["x", "x"], [0, 3]), AlsOptions(confidence="ratings"))


@pytest.mark.parametrize(
    "wrong", [{"factors": 0}, {"iterations": 0}, {"regularization": 0}, {"alpha": float("nan")}, {"seed": -1}]
)
def test_options_out_of_range_say_what_was_expected(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        AlsOptions(**wrong)  # type: ignore[arg-type]  # a table of wrong values
