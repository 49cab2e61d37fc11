"""Training of recommenders: time and quality of native and Spark ALS, beside popularity, and how time grows."""

import os
import shutil
import statistics
import time
from pathlib import Path

from benchmarks.report import Figure, Report
from models.recommend.generator import generate
from models.recommend.ratings import Ratings
from training.recommend.als import AlsOptions, Engine, default_options
from training.recommend.engines import Started, engine
from training.recommend.ranking import Evaluation, evaluate
from training.recommend.readers import read_ratings
from training.recommend.splits import Split, split

_USERS, _ITEMS, _RATINGS = 943, 1_682, 100_000  # as MovieLens 100k
_SIZES = (1, 4, 16)
_K = 10
_SEEDS = (1, 2, 3)
# What the best published row of the benchmark that docs/recommendations.md names leaves behind.
_TARGETS = {"ndcg_at_k": 0.485, "map": 0.150, "precision_at_k": 0.42, "recall_at_k": 0.225}
_MOVIELENS = "MOVIELENS"


def run(folder: Path, *, quick: bool = False) -> Report:
    """Measure; `folder` is not needed. `MOVIELENS` in the environment names a folder of MovieLens 100k."""
    del folder
    sizes = _SIZES[:1] if quick else _SIZES
    data = [generate(_USERS * size, _ITEMS, _RATINGS * size).ratings for size in sizes]
    figures, failures = _scaled("native", data, sizes, 1 if quick else 3)
    spark = shutil.which("java") is not None and not quick
    if spark:
        more, worse = _scaled("spark", data, sizes, 1)
        figures, failures = figures + more, failures + worse
    movielens = Path(os.environ.get(_MOVIELENS, "none"), "u.data")
    if movielens.exists():
        figures += _on_movielens(read_ratings(movielens), spark=spark, quick=quick)
    return Report(
        name="recommender_training",
        title="Training of recommenders",
        conditions=[
            f"Generated ratings: {_USERS:,} users per size, {_ITEMS:,} items, about {_RATINGS:,} ratings per size; a "
            "quarter of each user's is held out. Default options of each engine.",
            "Times are those of the fit alone; Spark's session is started once, before, and has its own line.",
            f"Growth is the time of the largest size over that of the smallest, over {sizes[-1]}: at 1 or below it "
            "grows no faster than the data.",
            "MovieLens 100k is measured where the variable MOVIELENS names its folder: it may not be handed on. "
            "Split and metrics are the benchmark's (see docs/recommendations.md); options were chosen on training "
            "data alone.",
            "Spark is left out where there is no Java." if spark else "No Java here: without Spark.",
        ],
        figures=figures,
        failures=failures,
    )


def _scaled(
    name: Engine, data: list[Ratings], sizes: tuple[int, ...], repetitions: int
) -> tuple[list[Figure], list[str]]:
    """Time at each size, growth, and quality at the smallest; a failure if popularity is not beaten."""
    figures, failures = [], []
    times: list[list[float]] = []
    with engine(name) as started:
        if started.start_s:
            figures.append(Figure(name="spark, start of the session", unit="s", values=[started.start_s]))
        for size, ratings in zip(sizes, data, strict=True):
            parts = split(ratings, "stratified")
            options = default_options(name)
            times.append([_fit_s(started, parts, options) for _ in range(repetitions)])
            target = {1: 2.0 if name == "native" else 60.0}.get(size)
            label = f"{name}, {len(ratings):,} ratings"
            figures.append(Figure(name=label, unit="s", values=times[-1], at_most=target))
        if len(sizes) > 1:
            growth = statistics.median(times[-1]) / statistics.median(times[0]) / (sizes[-1] / sizes[0])
            figures.append(Figure(name=f"{name}, growth", unit="", values=[growth], at_most=1.0))
        parts = split(data[0], "stratified")
        found = evaluate(started.fit(parts.train, default_options(name)), parts, _K)
    popular = found.popularity["ndcg_at_k"]
    figures.append(
        Figure(
            name=f"{name}, nDCG@{_K} on generated ratings",
            unit="",
            values=[found.metrics["ndcg_at_k"]],
            note=f"popularity {popular:.3f}",
        )
    )
    if found.metrics["ndcg_at_k"] <= popular:
        failures.append(f"{name} does not beat popularity on generated ratings")
    return figures, failures


def _fit_s(started: Started, parts: Split, options: AlsOptions) -> float:
    begun = time.perf_counter()
    started.fit(parts.train, options)
    return time.perf_counter() - begun


def _on_movielens(ratings: Ratings, *, spark: bool, quick: bool) -> list[Figure]:
    parts = split(ratings, "recommenders", ratio=0.75, seed=42)
    figures = []
    with engine("native") as started:
        options = default_options("native")
        figures.append(
            Figure(
                name="MovieLens 100k, native fit",
                unit="s",
                values=[_fit_s(started, parts, options) for _ in range(1 if quick else 5)],
                at_most=2.0,
            )
        )
        found = _evaluated(started, parts, options)
        for metric, target in _TARGETS.items():
            note = f"popularity {found.popularity[metric]:.4f}"
            name = f"MovieLens 100k, {metric}"
            figures.append(Figure(name=name, unit="", values=[found.metrics[metric]], at_least=target, note=note))
        others = [_evaluated(started, split(ratings, "recommenders", seed=seed), options) for seed in _SEEDS]
        figures.append(
            Figure(
                name="MovieLens 100k, ndcg_at_k, mean of three other seeds",
                unit="",
                values=[statistics.mean(other.metrics["ndcg_at_k"] for other in others)],
                at_least=0.478,
            )
        )
        later = _evaluated(started, split(ratings, "chronological"), options)
        figures.append(
            Figure(
                name="MovieLens 100k, ndcg_at_k, each user's latest quarter",
                unit="",
                values=[later.metrics["ndcg_at_k"]],
                note=f"popularity {later.popularity['ndcg_at_k']:.4f}",
            )
        )
        explicit = _evaluated(started, parts, default_options("native", "explicit"))
        figures.append(Figure(name="MovieLens 100k, explicit, rmse", unit="", values=[explicit.metrics["rmse"]]))
    return figures + (_spark_on_movielens(parts) if spark else [])


def _spark_on_movielens(parts: Split) -> list[Figure]:
    with engine("spark") as started:
        begun = time.perf_counter()
        found = _evaluated(started, parts, default_options("spark"))
        seconds = started.start_s + time.perf_counter() - begun
        explicit = _evaluated(started, parts, default_options("spark", "explicit"))
    name = "MovieLens 100k, spark"
    return [
        Figure(name=f"{name}: start, fit, evaluation", unit="s", values=[seconds], at_most=60.0),
        Figure(name=f"{name}, ndcg_at_k", unit="", values=[found.metrics["ndcg_at_k"]], at_least=0.475),
        Figure(
            name=f"{name}, explicit, rmse",
            unit="",
            values=[explicit.metrics["rmse"]],
            at_most=0.975,
            note="the benchmark's own row: .965",
        ),
    ]


def _evaluated(started: Started, parts: Split, options: AlsOptions) -> Evaluation:
    return evaluate(started.fit(parts.train, options), parts, _K)
