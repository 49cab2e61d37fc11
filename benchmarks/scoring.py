"""Scoring: the ONNX bank of a whole fleet against a loop over scikit-learn models, one per series."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import Figure, Report
from models.features import FEATURES
from models.inference.bank import ModelBank
from models.inference.weights import Weights, merge, select
from models.windowspec import WindowSpec
from training.history import SeriesWindows
from training.svm.export import PARITY_TOLERANCE, bank_graph
from training.svm.fit import Fitted, SvmOptions, fit_series

Float64 = npt.NDArray[np.float64]
_SPEC = WindowSpec(60, 60)
_FITTED = 500
_TRAINED_ON = 100
_SENSOR = "s"


def run(folder: Path, *, quick: bool = False) -> Report:
    """Measure and compare; `folder` is not needed."""
    del folder
    rng = np.random.default_rng(0)
    fitted = [_fit(number, rng) for number in range(50 if quick else _FITTED)]
    figures: list[Figure] = []
    failures: list[str] = []
    for series in (1_000,) if quick else (1_000, 20_000):
        bank = ModelBank(_repeated(fitted, series), bank_graph(), version="bench", spec=_SPEC)
        for batch in (256, 1024):
            figures += _compare(bank, fitted, series, batch, 1 if quick else 3, rng, failures)
    vectors = [int(fit.row.vectors[0]) for fit in fitted]
    return Report(
        name="scoring",
        title="Scoring: windows per second",
        conditions=[
            f"One One-Class SVM per series, {min(vectors)} to {max(vectors)} support vectors (median "
            f"{int(np.median(vectors))}), {len(FEATURES)} features; {len(fitted)} fits repeated to fill the fleet.",
            "Batches of windows of random series, always different ones, so that most models are not in the cache.",
            "The loop calls decision_function once for each series in a batch. The bank includes look-up of names "
            "and checks; names and features go in, decision values, scores and states come out.",
            f"Decision values were compared: they agree to {PARITY_TOLERANCE:g} of max(1, nu n).",
        ],
        figures=figures,
        failures=failures,
    )


def _fit(number: int, rng: np.random.Generator) -> Fitted:
    level, scale = rng.uniform(20, 100), rng.uniform(0.5, 5)
    features = rng.normal(level, scale, (_TRAINED_ON, len(FEATURES)))
    start_us = np.arange(_TRAINED_ON, dtype=np.int64) * _SPEC.size_us
    return fit_series(SeriesWindows((_name(number), _SENSOR), start_us, features), SvmOptions(nu=0.1))


def _name(number: int) -> str:
    return f"device-{number:06d}"


def _repeated(fitted: list[Fitted], series: int) -> Weights:
    rows = [number % len(fitted) for number in range(series)]
    weights = select(merge([fit.row for fit in fitted]), rows)
    return dataclasses.replace(weights, series=[(_name(number), _SENSOR) for number in range(series)])


def _compare(
    bank: ModelBank,
    fitted: list[Fitted],
    series: int,
    batch: int,
    repetitions: int,
    rng: np.random.Generator,
    failures: list[str],
) -> list[Figure]:
    rates: dict[str, list[float]] = {"bank": [], "loop": []}
    worst = 0.0
    for _ in range(repetitions):
        batches = [_windows(fitted, series, batch, rng) for _ in range(2 + 20_000 // batch)]
        begun = time.perf_counter()
        decisions = [bank.score(names, [_SENSOR] * batch, x).decision for names, _, x in batches]
        rates["bank"].append(len(batches) * batch / (time.perf_counter() - begun))
        begun = time.perf_counter()
        # Two batches are enough: the loop is slow, and steady.
        for (_, numbers, x), ours in zip(batches[:2], decisions, strict=False):
            theirs, scale = _loop(fitted, numbers, x)
            worst = max(worst, float((np.abs(ours - theirs) / scale).max()))
        rates["loop"].append(2 * batch / (time.perf_counter() - begun))
    if not worst <= PARITY_TOLERANCE:
        failures.append(f"{series} series, batches of {batch}: decision values differ by {worst:.2g} of max(1, nu n)")
    where = f"{series:,} series, batches of {batch:,}"
    times = [a / b for a, b in zip(rates["bank"], rates["loop"], strict=True)]
    return [
        Figure(name=f"{where}: scikit-learn loop", unit="windows/s", values=rates["loop"]),
        Figure(name=f"{where}: ONNX bank", unit="windows/s", values=rates["bank"]),
        Figure(name=f"{where}: bank over loop", unit="", values=times),
    ]


def _windows(
    fitted: list[Fitted], series: int, batch: int, rng: np.random.Generator
) -> tuple[list[str], npt.NDArray[np.int64], Float64]:
    """Names, numbers and features of windows: some inside what was trained on, some far outside."""
    numbers = rng.integers(0, series, batch)
    rows = [fitted[number % len(fitted)].row for number in numbers.tolist()]
    mean, scale = (np.concatenate([getattr(row, name) for row in rows]) for name in ("mean", "scale"))
    spread = rng.choice([1.0, 1.0, 1.0, 10.0], (batch, 1))
    x = mean + scale * spread * rng.normal(0, 1, (batch, len(FEATURES)))
    return [_name(number) for number in numbers.tolist()], numbers, x


def _loop(fitted: list[Fitted], numbers: npt.NDArray[np.int64], x: Float64) -> tuple[Float64, Float64]:
    """Decision values, and max(1, nu n) of each window's model."""
    decision, scale = np.empty(len(x)), np.empty(len(x))
    for number in np.unique(numbers).tolist():
        here = numbers == number
        fit = fitted[number % len(fitted)]
        estimator: Any = fit.estimator
        decision[here] = estimator.decision_function(x[here])
        scale[here] = max(1.0, float(fit.row.nu[0] * fit.row.windows[0]))
    return decision, scale
