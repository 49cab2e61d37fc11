"""Searches options of the factorization machine with Optuna, on training data alone, in a study that is resumable."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from models.errors import BadInput
from models.recommend.ratings import Ratings
from training.recommend.fm.experiment import measure
from training.recommend.fm.fit import fit_fm
from training.recommend.fm.model import FmOptions
from training.recommend.splits import Split, folds
from training.recommend.sweep import Trial, finished_trials, open_study, trial_of

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

    def options(self, searched: dict[str, int | float | str]) -> FmOptions:
        """Whole options of the searched ones."""
        fixed = {name: getattr(self, name) for name in ("objective", "targets", "members", "seed")}
        return msgspec.convert({**fixed, **searched}, FmOptions)


@dataclass(frozen=True, slots=True)
class FmSweep:
    """A finished search."""

    metric: str
    best: FmOptions
    best_score: float
    trials: list[Trial]


def sweep_fm(
    train: Ratings,
    plan: FmPlan,
    *,
    study: Path,
    name: str,
    trials: int,
    device: str = "auto",
    progress: Callable[[int], None] = lambda _: None,
) -> FmSweep:
    """The best options of a study of `trials` trials in the SQLite file `study`; those it has are not done again.

    Each fold is a fit as any other: its validation part is one of the fold's training part. The first trial is the
    default options. Trials run one after another: a fit uses the cores it has use for. `progress` is called with the
    number of finished trials. Raises BadInput if the stored study is about something else, or no trial
    succeeded; ConfigurationError if Optuna is not installed.
    """
    if trials < 1:
        raise BadInput(f"sweep: expected at least one trial, got {trials}")
    parts = folds(train, plan.n_folds, plan.seed)
    opened = open_study(study, name, plan, train)
    progress(len(finished_trials(opened)))
    if not opened.trials:
        defaults = FmOptions()
        opened.enqueue_trial({name: getattr(defaults, name) for name in _SEARCHED})
    missing = trials - len(finished_trials(opened))
    if missing > 0:
        opened.optimize(
            lambda trial: _score(trial, parts, plan, device),
            n_trials=missing,
            catch=(BadInput,),
            callbacks=[lambda at, _: progress(len(finished_trials(at)))],
        )
    found = [trial_of(each) for each in opened.trials]
    if not any(trial.score is not None for trial in found):
        raise BadInput(f"sweep: none of {len(found)} trials succeeded")
    best = opened.best_trial
    return FmSweep(plan.metric, plan.options(best.params), best.value or 0.0, found)


def _score(trial: "optuna.Trial", parts: list[Split], plan: FmPlan, device: str) -> float:
    import optuna

    options = plan.options(
        {
            "factors": trial.suggest_int("factors", 4, 128, log=True),
            "regularization": trial.suggest_float("regularization", 1e-3, 0.1, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 1e-3, 0.02, log=True),
        }
    )
    scores: list[float] = []
    for fold, part in enumerate(parts):
        scores.append(measure(fit_fm(part.train, options, device=device).model, part.test)[plan.metric])
        trial.report(math.fsum(scores) / len(scores), fold)
        if trial.should_prune():
            raise optuna.TrialPruned
    return math.fsum(scores) / len(scores)
