"""Splits of ratings: whole, disjoint, the same in any order of rows and on any engine."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from models.errors import BadInput
from models.recommend.ratings import Ratings
from training.recommend import splits
from training.recommend.readers import read_ratings

MOVIELENS = Path(os.environ.get("MOVIELENS", "none"), "u.data")


def some_ratings(seed: int = 0) -> Ratings:
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((40, 25)) < 0.5)
    order = rng.permutation(len(user))
    names = [f"u{u}" for u in user[order]], [f"i{i}" for i in item[order]]
    return Ratings.of(*names, rng.integers(1, 6, len(user)), rng.integers(1, 1000, len(user)))


def pairs(ratings: Ratings) -> set[tuple[str, str]]:
    return {(ratings.users[u], ratings.items[i]) for u, i in zip(ratings.user, ratings.item, strict=True)}


@pytest.mark.parametrize("kind", splits.KINDS)
@pytest.mark.parametrize("ratio", [0.5, 0.75, 0.9])
def test_the_parts_are_disjoint_and_together_everything(kind: splits.Kind, ratio: float) -> None:
    ratings = some_ratings()
    made = splits.split(ratings, kind, ratio=ratio)
    assert not pairs(made.train) & pairs(made.test)
    assert pairs(made.train) | pairs(made.test) == pairs(ratings)
    assert abs(len(made.train) / len(ratings) - ratio) < 0.1


@pytest.mark.parametrize("kind", ["random", "stratified", "chronological"])
def test_the_order_of_rows_does_not_matter(kind: splits.Kind) -> None:
    ratings = some_ratings()
    mixed = ratings.rows(np.random.default_rng(5).permutation(len(ratings)))
    assert pairs(splits.split(ratings, kind).train) == pairs(splits.split(mixed, kind).train)


@pytest.mark.parametrize("kind", ["random", "stratified", "recommenders"])
def test_another_seed_gives_another_split(kind: splits.Kind) -> None:
    first, second = (splits.split(some_ratings(), kind, seed=seed) for seed in (1, 2))
    assert pairs(first.train) != pairs(second.train)


def test_the_hash_is_the_one_that_spark_computes() -> None:
    ratings = Ratings.of(["196", "é'1", "7"], ["242", "b", "7"], [1, 2, 3])
    # From pyspark 4.1, by the expression in the module's docstring.
    found = splits.row_hash(ratings, 42).view(np.int64).tolist()
    assert found == [-2178140712933519167, 8037644944100127613, -217855908232135004]
    assert splits.draws(ratings, 42) == pytest.approx([0.8819227553529176, 0.4357216055030244, 0.9881900075502957])


def test_draws_are_even_for_every_user_and_item() -> None:
    ids = [str(n) for n in range(300)]
    grid = Ratings.of([u for u in ids for _ in ids], ids * 300, np.ones(90_000))
    draws = splits.draws(grid, 42).reshape(300, 300)
    # The mean of 300 even draws strays by .0167; five times that for the worst of 600.
    assert np.abs(draws.mean(axis=0) - 0.5).max() < 0.084
    assert np.abs(draws.mean(axis=1) - 0.5).max() < 0.084
    assert abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("by", ["user", "item"])
def test_a_stratified_split_keeps_the_ratio_in_every_group(by: splits.By) -> None:
    ratings = some_ratings()
    train = splits.split(ratings, "stratified", by=by).train
    whole, part = (np.bincount(getattr(r, by)) for r in (ratings, train))
    np.testing.assert_array_equal(part, np.rint(0.75 * whole))


def test_a_chronological_split_tests_on_each_users_latest_ratings() -> None:
    made = splits.split(some_ratings(), "chronological")
    for user in range(40):
        before = made.train.time_s[made.train.user == user]
        after = made.test.time_s[made.test.user == user]
        assert before.max() <= after.min()


def test_a_chronological_split_over_all_has_one_moment() -> None:
    made = splits.split(some_ratings(), "chronological", by="all")
    assert made.train.time_s.max() <= made.test.time_s.min()


def test_every_row_is_tested_in_one_fold() -> None:
    ratings = some_ratings()
    made = splits.folds(ratings, 4, 7)
    assert sum(len(fold.test) for fold in made) == len(ratings)
    assert set().union(*(pairs(fold.test) for fold in made)) == pairs(ratings)
    assert all(not pairs(fold.train) & pairs(fold.test) for fold in made)


def test_what_cannot_be_split_says_why() -> None:
    ratings = some_ratings()
    for ratio in (0.0, 1.0, float("nan")):
        with pytest.raises(BadInput, match="ratio: expected a number between 0 and 1"):
            splits.split(ratings, "random", ratio=ratio)
    with pytest.raises(BadInput, match="empty test part"):
        splits.split(Ratings.of(["a"], ["x"], [1]), "stratified")
    with pytest.raises(BadInput, match="have no times"):
        splits.split(Ratings.of(["a", "b"], ["x", "y"], [1, 2]), "chronological")
    with pytest.raises(BadInput, match="by item"):
        splits.split(ratings, "recommenders", by="user")
    with pytest.raises(BadInput, match="--by user or --by item"):
        splits.split(ratings, "stratified", by="all")


@pytest.mark.skipif(not MOVIELENS.exists(), reason="MOVIELENS names no folder of MovieLens 100k")
def test_the_benchmarks_split_of_movielens_has_its_published_sizes() -> None:
    made = splits.split(read_ratings(MOVIELENS), "recommenders", ratio=0.75, seed=42)
    assert (len(made.train), len(made.test)) == (75_066, 24_934)
