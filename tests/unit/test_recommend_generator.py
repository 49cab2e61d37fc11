"""Generated ratings have the structure that they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import BadInput
from models.recommend.generator import generate
from models.recommend.ratings import in_id_order
from training.recommend.als import AlsOptions
from training.recommend.checks import check_ratings, check_scale
from training.recommend.items import read_items
from training.recommend.native import fit_native
from training.recommend.ranking import evaluate, rank, scorer_of
from training.recommend.readers import read_ratings
from training.recommend.splits import split
from training.recommend.writers import write_generated

MADE = generate(300, 600, 9_000, seed=3)


def test_equal_arguments_give_equal_ratings_and_another_seed_gives_others() -> None:
    again, other = generate(300, 600, 9_000, seed=3), generate(300, 600, 9_000, seed=4)
    np.testing.assert_array_equal(again.ratings.item, MADE.ratings.item)
    np.testing.assert_array_equal(again.ratings.value, MADE.ratings.value)
    assert not np.array_equal(other.ratings.item, MADE.ratings.item)


def test_ratings_are_sound_and_about_as_many_as_asked_for() -> None:
    check_ratings(MADE.ratings, "generated")
    check_scale(MADE.ratings, "generated", 1, 5)
    assert 0.9 * 9_000 < len(MADE.ratings) < 1.1 * 9_000
    assert MADE.ratings.items == in_id_order(MADE.ratings.items)
    assert (np.diff(MADE.ratings.time_s) >= 0).all()


def test_users_rate_their_favourite_genre_more_often_and_higher() -> None:
    favourite = MADE.genre_of_item[MADE.ratings.item] == MADE.taste[MADE.ratings.user]
    assert 0.5 < favourite.mean() < 0.7
    assert MADE.ratings.value[favourite].mean() > MADE.ratings.value[~favourite].mean() + 0.3


def test_popularity_has_a_long_tail() -> None:
    falling = np.sort(np.bincount(MADE.ratings.item, minlength=600))[::-1]
    assert falling[:120].sum() > 0.4 * falling.sum()


def test_a_recommender_finds_the_structure() -> None:
    parts = split(MADE.ratings, "stratified")
    model = fit_native(parts.train, AlsOptions(factors=16))
    found = evaluate(model, parts, 10)
    assert found.metrics["ndcg_at_k"] > 1.5 * found.popularity["ndcg_at_k"]
    ranking = rank(scorer_of(model), parts, 5)
    favourite = MADE.genre_of_item[ranking.lists] == MADE.taste[ranking.users, None]
    assert favourite.mean() > 0.3  # by chance a tenth


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    described = write_generated(MADE, tmp_path / "r.csv")
    read = read_ratings(tmp_path / "r.csv")
    rated = np.unique(MADE.ratings.item)
    assert read.items == [MADE.ratings.items[place] for place in rated]
    np.testing.assert_array_equal(read.value, MADE.ratings.value)
    np.testing.assert_array_equal(read.time_s, MADE.ratings.time_s)
    items = read_items(described)
    assert len(items) == 600
    assert items["1"].genres == (MADE.genres[0],)


@pytest.mark.parametrize(("users", "items", "ratings"), [(0, 10, 1), (10, 9, 1), (10, 10, 21), (10, 10, 0)])
def test_sizes_that_do_not_fit_are_bad_input(users: int, items: int, ratings: int) -> None:
    with pytest.raises(BadInput, match="generator: expected users"):
        generate(users, items, ratings)
