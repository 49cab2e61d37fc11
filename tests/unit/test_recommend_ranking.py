"""Evaluation of rankers: who is evaluated, on which candidates."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import BadInput
from models.recommend.ratings import Ratings
from training.recommend import ranking
from training.recommend.als import AlsOptions
from training.recommend.native import fit_native
from training.recommend.readers import read_ratings
from training.recommend.splits import Split, split

ALL = Ratings.of(
    ["a", "a", "a", "b", "b", "c", "d"], ["1", "2", "3", "1", "4", "2", "5"], [5, 4, 3, 2, 5, 1, 3], range(1, 8)
)


def split_after(*test_rows: int) -> Split:
    chosen = np.ones(len(ALL), dtype=bool)
    chosen[list(test_rows)] = False
    return Split(ALL.rows(chosen), ALL.rows(~chosen))


def fixed(*scores: float) -> ranking.Scorer:
    return lambda users: np.tile(np.array(scores, dtype=np.float32), (len(users), 1))


def test_seen_items_and_items_without_training_ratings_are_no_candidates() -> None:
    made = split_after(2, 4, 6)  # in training: a 1 2, b 1, c 2; items 3, 4 and 5 are cold, user d is cold
    found = ranking.rank(fixed(1, 2, 9, 9, 9), made, 3)
    assert [ALL.users[user] for user in found.users] == ["a", "b"]
    assert found.lists.tolist() == [[-1, -1, -1], [1, -1, -1]]


def test_popular_items_come_first_and_of_equals_the_lower_id() -> None:
    made = split_after(1)  # in training: 1 twice, 2 3 4 5 once each
    found = ranking.rank(ranking.popularity(made.train), made, 4)
    assert found.lists.tolist() == [[1, 3, 4, -1]]  # a has seen 1 and 3


def test_a_list_is_measured_against_the_users_test_ratings() -> None:
    made = split_after(1)
    figures = ranking.ranking_metrics(ranking.Ranking(np.array([0]), np.array([[3, 1]])), made)
    assert (figures["precision_at_k"], figures["recall_at_k"]) == (0.5, 1.0)
    assert (figures["map"], figures["map_at_k"]) == (0.5, 0.5)
    assert figures["coverage"] == 2 / 5
    # Items 4 and 2 have one of six training ratings each, by users that differ.
    assert figures["novelty"] == pytest.approx(np.log2(6))
    assert figures["diversity"] == 1


def test_items_rated_by_the_same_users_are_alike() -> None:
    similarity = ranking.cosine_by_users(ALL)
    pairs: tuple[npt.NDArray[np.int64], ...] = np.array([0, 0, 1]), np.array([1, 3, 0])
    # Item 1: a b; item 2: a c; item 4: b.
    assert similarity(*pairs) == pytest.approx([1 / 2, 1 / np.sqrt(2), 1 / 2])


@pytest.mark.parametrize("k", [0, 6, 1_000_000])
def test_k_outside_the_catalogue_is_bad_input(k: int) -> None:
    with pytest.raises(BadInput, match=rf"k: expected 1\.\.5, the number of items, got {k}"):
        ranking.rank(fixed(1, 2, 3, 4, 5), split_after(1), k)


def test_a_split_without_common_users_is_bad_input() -> None:
    with pytest.raises(BadInput, match="expected users with ratings in the training and the test part"):
        ranking.rank(fixed(1, 2, 3, 4, 5), split_after(6), 2)


def test_blocks_of_users_give_the_lists_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((50, 30)) < 0.4)
    ratings = Ratings.of([str(u) for u in user], [str(i) for i in item], np.ones(len(user)))
    made = split(ratings, "random")
    model = fit_native(made.train, AlsOptions(factors=4))
    whole = ranking.rank(ranking.scorer_of(model), made, 5)
    monkeypatch.setattr(ranking, "_BLOCK_BYTES", 4 * 30 * 7)
    parts = ranking.rank(ranking.scorer_of(model), made, 5)
    np.testing.assert_array_equal(parts.lists, whole.lists)
    np.testing.assert_array_equal(parts.users, whole.users)


def test_rating_errors_leave_out_what_training_does_not_know() -> None:
    made = split_after(1, 4, 6)  # a 2, whose user and item are known; item 4 and user d are not
    figures = ranking.rating_metrics(lambda user, item: np.full(len(user), 3.0, dtype=np.float32), made)
    assert figures["rmse"] == figures["mae"] == 1
    assert figures["rated_share"] == pytest.approx(1 / 3)


MOVIELENS = Path(os.environ.get("MOVIELENS", "none"), "u.data")


@pytest.mark.skipif(not MOVIELENS.exists(), reason="MOVIELENS names no folder of MovieLens 100k")
def test_popularity_on_the_benchmarks_split_gives_the_published_figures() -> None:
    made = split(read_ratings(MOVIELENS), "recommenders")
    figures = ranking.ranking_metrics(ranking.rank(ranking.popularity(made.train), made, 10), made)
    names = ("map", "map_at_k", "ndcg_at_k", "precision_at_k", "recall_at_k")
    assert [round(figures[name], 4) for name in names] == [0.0560, 0.1374, 0.2524, 0.2287, 0.1132]
