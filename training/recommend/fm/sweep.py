"""Searches options of the factorization machine with Optuna, on training data alone, in a study that is resumable."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from models.recommend.ratings import Ratings
from training.recommend.fm.experiment import measure
from training.recommend.fm.fit import fit_fm
from training.recommend.fm.model import FmOptions
from training.recommend.splits import Split, folds
from training.recommend.sweep import Params, Searched, open_study, search, sweep_of

if TYPE_CHECKING:
    import optuna

_SEARCHED: Final = ("factors", "regularization", "learning_rate")


@dataclass(frozen=True, slots=True)
class FmPlan:
    """What is searched, and how. A study is resumed only under the same plan and ratings."""

    objective: str = "classification"
    targets: str = "soft"
    members: int = 4
    n_folds: int = 5
    seed: int = 0
    metric: str = "log_loss"
    """What trials are compared by: the mean over folds, lower is better."""

    def options(self, searched: Params) -> FmOptions:
        """Whole options of the searched ones."""
        fixed = {name: getattr(self, name) for name in ("objective", "targets", "members", "seed")}
        return msgspec.convert({**fixed, **searched}, FmOptions)


def sweep_fm(
    train: Ratings,
    plan: FmPlan,
    *,
    study: Path,
    name: str,
    trials: int,
    device: str = "auto",
    progress: Callable[[int], None] = lambda _: None,
) -> Searched[FmOptions]:
    """The best options of a study of `trials` trials in the SQLite file `study`; those it has are not done again.

    Each fold is a fit as any other: its validation part is one of the fold's training part. The first trial is the
    default options. Trials run one after another: a fit uses the cores it has use for. `progress` is called with the
    number of finished trials. Raises BadInput if the stored study is about something else, or no trial
    succeeded; ConfigurationError if Optuna is not installed.
    """
    parts = folds(train, plan.n_folds, plan.seed)
    opened = open_study(study, name, plan, train)

    def score(options: FmOptions, part: Split) -> float:
        return measure(fit_fm(part.train, options, device=device).model, part.test)[plan.metric]

    defaults = FmOptions()
    first: Params = {name: getattr(defaults, name) for name in _SEARCHED}
    search(
        opened,
        first,
        parts,
        lambda trial: plan.options(_suggested(trial)),
        score,
        trials=trials,
        progress=progress,
    )
    return sweep_of(opened, plan, plan.options(opened.best_trial.params))


def _suggested(trial: "optuna.Trial") -> Params:
    return {
        "factors": trial.suggest_int("factors", 4, 128, log=True),
        "regularization": trial.suggest_float("regularization", 1e-3, 0.1, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 1e-3, 0.02, log=True),
    }
