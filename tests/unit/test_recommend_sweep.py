"""Sweeps: stored, resumed, on training data alone."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from models.errors import BadInput
from models.recommend.generator import generate
from models.recommend.ratings import Ratings
from training.recommend.als import AlsModel, AlsOptions, default_options
from training.recommend.native import fit_native
from training.recommend.report import draw
from training.recommend.sweep import Plan, Sweep, sweep_als
from training.recommend.sweep_plots import by_option, by_trial

RATINGS = generate(60, 40, 450, seed=1).ratings
PLAN = Plan(n_folds=2, k=5)


class Fits:
    """Fits small models, and counts the fits."""

    def __init__(self) -> None:
        self.count = 0
        self.sizes: set[int] = set()
        self._lock = threading.Lock()

    def __call__(self, train: Ratings, options: AlsOptions) -> AlsModel:
        with self._lock:
            self.count += 1
            self.sizes.add(len(train))
        return fit_native(train, options, threads=1)


def swept(folder: Path, fits: Fits, trials: int, *, plan: Plan = PLAN, jobs: int = 1, name: str = "s") -> Sweep:
    return sweep_als(RATINGS, fits, plan, study=folder / "sweeps.db", name=name, trials=trials, jobs=jobs)


def test_a_study_starts_with_the_defaults_and_is_resumed_where_it_stopped(tmp_path: Path) -> None:
    fits = Fits()
    first = swept(tmp_path, fits, 2)
    defaults = default_options("native")
    assert first.trials[0].options["factors"] == defaults.factors
    assert fits.count == 4
    again = swept(tmp_path, fits, 5)
    assert [trial.number for trial in again.trials] == [0, 1, 2, 3, 4]
    assert [trial.score for trial in again.trials[:2]] == [trial.score for trial in first.trials]
    assert fits.count == 10
    # The new trials are not those of the first run once more.
    assert again.trials[3].options != again.trials[1].options
    swept(tmp_path, fits, 5)
    assert fits.count == 10


def test_fits_see_the_folds_of_the_given_ratings_only(tmp_path: Path) -> None:
    fits = Fits()
    swept(tmp_path, fits, 1)
    assert sum(fits.sizes) == len(RATINGS)


def test_the_winner_has_the_best_score(tmp_path: Path) -> None:
    found = swept(tmp_path, Fits(), 4, jobs=2)
    assert found.best_score == max(trial.score or 0 for trial in found.trials)
    winner = next(trial for trial in found.trials if trial.score == found.best_score)
    regularization = float(winner.options.pop("regularization"))
    assert all(getattr(found.best, name) == value for name, value in winner.options.items())
    # A fold has half of the ratings; the winner is for all of them.
    assert 1.2 * regularization < (found.best.regularization or 0) < 1.6 * regularization
    assert (found.metric, found.best.objective) == ("ndcg_at_k", "implicit")


def test_the_explicit_objective_is_searched_for_the_least_error(tmp_path: Path) -> None:
    found = swept(tmp_path, Fits(), 3, plan=Plan(objective="explicit", n_folds=2, k=5))
    assert found.metric == "rmse"
    assert found.best_score == min(trial.score or 9 for trial in found.trials)
    assert "alpha" not in found.trials[0].options


def test_a_study_about_something_else_is_not_resumed(tmp_path: Path) -> None:
    swept(tmp_path, Fits(), 1)
    with pytest.raises(
        BadInput, match="about other ratings or settings: k 5 there, 6 here; name another with --study"
    ):
        swept(tmp_path, Fits(), 2, plan=Plan(n_folds=2, k=6))
    swept(tmp_path, Fits(), 1, plan=Plan(n_folds=2, k=6), name="another")


def test_trials_are_drawn(tmp_path: Path) -> None:
    found = swept(tmp_path, Fits(), 3)
    paths = draw({tmp_path / "trials.png": by_trial(found), tmp_path / "options.png": by_option(found)})
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert len(paths) == 2
