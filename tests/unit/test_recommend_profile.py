"""Figures of a set of ratings, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.recommend.ratings import Ratings
from training.recommend.profile import profile, profile_markdown, profile_plots
from training.recommend.report import draw

DAY = 86_400
RATINGS = Ratings.of(
    ["a", "a", "a", "b", "b", "c"],
    ["1", "2", "3", "1", "2", "1"],
    [5, 4, 1, 3, 4, 5],
    [DAY, 2 * DAY, 3 * DAY, DAY, DAY, 9 * DAY],
)


def test_figures_of_sparsity_tail_balance_and_activity() -> None:
    found = profile(RATINGS)
    assert (found.ratings, found.users, found.items) == (6, 3, 3)
    assert found.density == pytest.approx(6 / 9)
    assert found.per_user == {"min": 1, "median": 2, "mean": 2, "max": 3}
    assert found.share_of_top_items["20%"] == 3 / 6
    # Counts 1, 2, 3: mean absolute difference of two draws 8/9, over twice the mean of 2.
    assert found.gini_of_items == pytest.approx(8 / 9 / 4)
    assert found.rated_once == 1
    assert found.values == {"1": 1, "3": 1, "4": 2, "5": 2}
    assert found.positive_share == pytest.approx(4 / 6)
    assert (found.first, found.last) == ("1970-01-02T00:00:00Z", "1970-01-10T00:00:00Z")
    assert found.median_user_days == 0


def test_ids_without_rows_do_not_count() -> None:
    assert profile(RATINGS.rows(RATINGS.user == 0)).users == 1


def test_ratings_without_times_have_no_activity(tmp_path: Path) -> None:
    timeless = Ratings.of(["a", "b"], ["1", "1"], [1.5, 40])
    found = profile(timeless)
    assert (found.first, found.median_user_days) == (None, None)
    assert "no times" in profile_markdown(found, "x")
    assert "activity" not in profile_plots(timeless)
    assert "activity" in profile_plots(RATINGS)


@pytest.mark.parametrize("ratings", [RATINGS, Ratings.of(["a"], ["1"], [3])], ids=["some", "one"])
def test_plots_are_pictures(ratings: Ratings, tmp_path: Path) -> None:
    paths = draw({tmp_path / f"{name}.png": plot for name, plot in profile_plots(ratings).items()})
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert len(paths) >= 3
