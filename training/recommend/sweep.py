"""Searches options of ALS with Optuna, on training data alone, in a study that can be stopped and resumed.

Every trial is scored by cross-validation inside the training part: with ten folds, fits see nine tenths of it. That
matters since the best regularisation depends on how much is known of each user and item. An inner split that takes
away a quarter favours too heavy a regularisation, above all under the objectives that multiply it by the counts. That
of the native implicit winner is carried over to the whole training part by the rule of `als.suited`.
"""

import dataclasses
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Protocol, TypeVar

import msgspec

from models.errors import BadInput, ConfigurationError
from models.recommend.ratings import Ratings
from training.recommend.als import AlsModel, AlsOptions, Engine, Objective, default_options, noise, suited
from training.recommend.native import one_blas_thread
from training.recommend.ranking import hit_metrics, rank, rating_metrics, scorer_of
from training.recommend.register import fingerprint
from training.recommend.splits import Split, folds

if TYPE_CHECKING:
    import optuna

Fit = Callable[[Ratings, AlsOptions], AlsModel]
Params = dict[str, int | float | str]
"""Options that are searched, by name."""
Options = TypeVar("Options")

_LOCK_WAIT_S: Final = 120
# Whether the ridge is the number itself, or the number times how many ratings there are.
_RIDGE: Final = (1.0, 200.0)
_RIDGE_BY_COUNT: Final = (0.01, 1.0)
_DIFFERENT: Final = "study {name!r} in {path} is about other ratings or settings: {what}; name another with --study"


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One set of options; `score` is None where it was stopped early or failed."""

    number: int
    state: str
    score: float | None
    options: Params
    seconds: float


@dataclass(frozen=True, slots=True)
class Searched(Generic[Options]):
    """A finished search."""

    metric: str
    """What trials were compared by, the mean over folds: "ndcg_at_k", of which more is better, or an error."""
    best: Options
    best_score: float
    trials: list[Trial]
    """In the order of their numbers."""


Sweep = Searched[AlsOptions]


class Planned(Protocol):
    """What a study is about: a dataclass, whose fields must be the same when it is resumed."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def seed(self) -> int:
        """Of the sampler."""
        ...

    @property
    def metric(self) -> str:
        """What trials are compared by: "ndcg_at_k", of which more is better, or an error."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What is searched, and how. A study is resumed only under the same plan and ratings."""

    engine: Engine = "native"
    objective: Objective = "implicit"
    n_folds: int = 10
    k: int = 10
    seed: int = 0

    @property
    def metric(self) -> str:
        """What trials are compared by."""
        return "ndcg_at_k" if self.objective == "implicit" else "rmse"


def sweep_als(
    train: Ratings,
    fit: Fit,
    plan: Plan,
    *,
    study: Path,
    name: str,
    trials: int,
    jobs: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> Sweep:
    """The best options of a study of `trials` trials in the SQLite file `study`; those it has are not done again.

    The first trial is the default options. `jobs` trials run at once, each calling `fit` from a thread of its own.
    `progress` is called with the number of finished trials. Raises BadInput if the stored study is about something
    else, or no trial succeeded; ConfigurationError if Optuna is not installed.
    """
    parts = folds(train, plan.n_folds, plan.seed)
    opened = open_study(study, name, plan, train)

    def score(options: AlsOptions, part: Split) -> float:
        model = fit(part.train, options)
        if plan.metric == "rmse":
            return rating_metrics(model.predict, part)["rmse"]
        return hit_metrics(rank(scorer_of(model), part, plan.k), part)[plan.metric]

    with one_blas_thread():
        search(
            opened,
            _start(plan, parts[0].train),
            parts,
            lambda trial: _options(_suggested(trial, plan), plan),
            score,
            trials=trials,
            jobs=jobs,
            progress=progress,
        )
    best = opened.best_trial
    winner = _carried_over(_options(best.params, plan), plan, parts[0].train, train)
    return sweep_of(opened, plan, winner)


def search(
    study: "optuna.Study",
    first: Params,
    parts: Sequence[Split],
    suggested: Callable[["optuna.Trial"], Options],
    score: Callable[[Options, Split], float],
    *,
    trials: int,
    jobs: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Do what is missing of `trials` trials, each scored by the mean over `parts`; a new study begins with `first`.

    `suggested` draws the options of a trial, `score` fits and measures them on a part. `jobs` trials run at once.
    `progress` is called with the number of finished trials. Raises BadInput if no trial has succeeded.
    """
    if trials < 1 or jobs < 1:
        raise BadInput(f"sweep: expected at least one trial and one job, got {trials} and {jobs}")
    progress(len(_finished(study)))

    def run(count: int, at_once: int) -> None:
        study.optimize(
            lambda trial: _mean(trial, suggested(trial), parts, score),
            n_trials=count,
            n_jobs=at_once,
            catch=(BadInput,),
            callbacks=[lambda at, _: progress(len(_finished(at)))],
        )

    if not study.trials:
        # Alone: two threads may both take a trial that waits in SQLite.
        study.enqueue_trial(first)
        run(1, 1)
    if (missing := trials - len(_finished(study))) > 0:
        run(missing, min(jobs, missing))
    if not any(trial.state.name == "COMPLETE" for trial in study.trials):
        raise BadInput(f"sweep: none of {len(study.trials)} trials succeeded")


def sweep_of(study: "optuna.Study", plan: Planned, best: Options) -> Searched[Options]:
    """What a searched study says. `best`: whole options of its best trial."""
    return Searched(plan.metric, best, study.best_value, [_trial(each) for each in study.trials])


def open_study(path: Path, name: str, plan: Planned, train: Ratings) -> "optuna.Study":
    """The study of `plan` on `train`, stored in the SQLite file `path`: made, or taken up again.

    Raises BadInput if the stored one is about something else; ConfigurationError if Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigurationError(f"{error}; install what a sweep needs: pip install 'penstock[training]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Parallel trials, and other processes on the same study, wait for one another.
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": _LOCK_WAIT_S}}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        known = {summary.study_name: summary for summary in optuna.get_all_study_summaries(storage)}
        before = known[name].n_trials if name in known else 0
        sampler = optuna.samplers.TPESampler(
            # A resumed study must not draw again what it drew at first.
            seed=plan.seed + before,
            multivariate=True,
            constant_liar=True,
        )
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            sampler=sampler,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=8, n_warmup_steps=1),
            direction="maximize" if plan.metric == "ndcg_at_k" else "minimize",
            load_if_exists=True,
        )
    about = {"ratings": fingerprint(train), **dataclasses.asdict(plan)}
    stored = study.user_attrs.get("about")
    if stored is None:
        study.set_user_attr("about", about)
    elif stored != about:
        what = ", ".join(
            f"{key} {stored.get(key)} there, {about[key]} here" for key in about if stored.get(key) != about[key]
        )
        raise BadInput(_DIFFERENT.format(name=name, path=path, what=what))
    return study


def _finished(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    """Those that need not be done again; one that was running when its process was killed must."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def _mean(
    trial: "optuna.Trial", options: Options, parts: Sequence[Split], score: Callable[[Options, Split], float]
) -> float:
    """The mean score over the parts, given up early where those so far are poor beside other trials'."""
    import optuna

    scores: list[float] = []
    for number, part in enumerate(parts):
        scores.append(score(options, part))
        trial.report(math.fsum(scores) / len(scores), number)
        if trial.should_prune():
            raise optuna.TrialPruned
    return math.fsum(scores) / len(scores)


def _suggested(trial: "optuna.Trial", plan: Plan) -> Params:
    low, high = _RIDGE if (plan.engine, plan.objective) == ("native", "implicit") else _RIDGE_BY_COUNT
    found: Params = {
        "factors": trial.suggest_int("factors", 8, 160),
        "regularization": trial.suggest_float("regularization", low, high, log=True),
        "iterations": trial.suggest_int("iterations", 5, 30),
    }
    if plan.objective == "implicit":
        found["alpha"] = trial.suggest_float("alpha", 0.5, 40, log=True)
        found["confidence"] = trial.suggest_categorical("confidence", ["ones", "ratings"])
    return found


def _start(plan: Plan, train: Ratings) -> Params:
    options = suited(default_options(plan.engine, plan.objective), train)
    names = ["factors", "regularization", "iterations"]
    if plan.objective == "implicit":
        names += ["alpha", "confidence"]
    return {name: getattr(options, name) for name in names}


def _carried_over(options: AlsOptions, plan: Plan, fold: Ratings, train: Ratings) -> AlsOptions:
    """Options for all of `train` that correspond to those for a fold of it, where a rule is known."""
    if (plan.engine, plan.objective) != ("native", "implicit") or options.regularization is None:
        return options
    scaled = options.regularization * noise(train) / noise(fold)
    return msgspec.structs.replace(options, regularization=round(scaled, 3))


def _options(params: Params, plan: Plan) -> AlsOptions:
    return msgspec.convert({**params, "objective": plan.objective, "seed": plan.seed}, AlsOptions)


def _trial(trial: "optuna.trial.FrozenTrial") -> Trial:
    """What a report says of a trial."""
    complete = trial.state.name == "COMPLETE"
    return Trial(
        number=trial.number,
        state=trial.state.name.lower(),
        score=trial.value if complete else None,
        options=dict(trial.params),
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
    )
