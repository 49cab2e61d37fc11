"""Fits the One-Class SVM of each series; one that cannot be fitted is refused with a reason, the others go on."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.errors import ModelRefused
from models.features import FEATURES
from models.inference import guards
from models.inference.weights import Float64, Weights
from training.history import Series, SeriesWindows

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_MIN_NU_N = 2.0
_MAX_NU = 0.5
_MAX_ITERATIONS = 1_000_000
_ROUNDING = 1e-9
_CONSTANT_SCALE = 0.01
_BOUNDARY = 1e-6


class SvmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of a fit."""

    nu: float = 0.01
    """Share of training windows that may lie outside; raised per series so that nu * n is at least 2."""
    gamma: float = 0.02
    """Kernel width on scaled features. scikit-learn's 1 / F learns short histories by heart: fitted on 60 windows of
    steady noise it puts a third of the later ones outside; 0.02 a tenth, and one in a thousand scores above 1."""
    tol: float = 1e-6
    """Far below nu * n: with libsvm's default of 1e-3 a small fit stops where it started."""
    min_windows: int = 20
    max_windows: int = 5000
    """Of a longer history the latest windows are used."""

    def __post_init__(self) -> None:
        if not (0 < self.nu <= _MAX_NU and self.gamma > 0 and self.tol > 0):
            raise ValueError(f"expected 0 < nu <= {_MAX_NU}, gamma > 0 and tol > 0, got {self}")
        if not 4 <= self.min_windows <= self.max_windows:
            raise ValueError(f"expected 4 <= min_windows <= max_windows, got {self}")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A sound model of one series: the scikit-learn pipeline, and the same as one row of a bank."""

    windows: SeriesWindows
    estimator: "Pipeline"
    row: Weights


class Refusal(msgspec.Struct, frozen=True):
    """A series that got no model."""

    device: str
    sensor: str
    windows: int
    reason: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """All series of one training run, each in one of the lists, sorted by name."""

    fitted: list[Fitted]
    refused: list[Refusal]


def fit_fleet(
    sets: Sequence[SeriesWindows], options: SvmOptions, *, progress: Callable[[Series], None] = lambda _: None
) -> Fleet:
    """A model or a refusal for every series; `progress` is called after each. Equal input gives equal models."""
    fitted: list[Fitted] = []
    refused: list[Refusal] = []
    for windows in sets:
        try:
            fitted.append(fit_series(windows, options))
        except ModelRefused as error:
            refused.append(Refusal(*windows.series, len(windows.start_us), str(error)))
        progress(windows.series)
    return Fleet(fitted, refused)


def fit_series(windows: SeriesWindows, options: SvmOptions) -> Fitted:
    """The model of one series. Raises ModelRefused if there are too few windows or the fit is degenerate."""
    n = len(windows.start_us)
    if n < options.min_windows:
        raise ModelRefused(f"has {n} windows, needs {options.min_windows}")
    nu = min(max(options.nu, _MIN_NU_N / n), _MAX_NU)
    estimator = _pipeline(windows.features, nu, options)
    decision = estimator.decision_function(windows.features)
    row = weights_row(windows.series, estimator, decision)
    reasons = guards.refusals(row)
    if reasons:
        raise ModelRefused(reasons[windows.series])
    return Fitted(windows, estimator, row)


def weights_row(series: Series, estimator: "Pipeline", training_decision: Float64) -> Weights:
    """A fitted pipeline (scaler, svm) as a bank of one series.

    training_decision: float64 (n,), its decision values on the windows it was fitted on.
    """
    scaler, svm = estimator.named_steps["scaler"], estimator.named_steps["svm"]
    n = len(training_decision)
    # Margin vectors lie on the boundary to within libsvm's tolerance: they are not outside.
    outside = training_decision < -_BOUNDARY * max(1.0, svm.nu * n)
    support = np.asarray(svm.support_vectors_, dtype=np.float64)
    return Weights(
        series=[series],
        mean=scaler.mean_[None, :],
        scale=scaler.scale_[None, :],
        gamma=np.array([svm.gamma], dtype=np.float64),
        rho=-np.asarray(svm.intercept_, dtype=np.float64),
        nu=np.array([svm.nu], dtype=np.float64),
        windows=np.array([n], dtype=np.int64),
        flagged=np.array([outside.sum()], dtype=np.int64),
        vectors=np.array([len(support)], dtype=np.int64),
        support=support,
        coef=np.asarray(svm.dual_coef_[0], dtype=np.float64),
    )


def _pipeline(features: Float64, nu: float, options: SvmOptions) -> "Pipeline":
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import OneClassSVM

    scaler = StandardScaler().fit(features)
    scaler.scale_ = _usable_scale(features, scaler.scale_)
    svm = OneClassSVM(kernel="rbf", nu=nu, gamma=options.gamma, tol=options.tol, max_iter=_MAX_ITERATIONS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            svm.fit(scaler.transform(features))
    except ConvergenceWarning:
        raise ModelRefused(f"did not converge in {_MAX_ITERATIONS} iterations") from None
    except ValueError as error:  # scikit-learn's word for data that it cannot take, such as overflow in the scaler
        raise ModelRefused(f"scikit-learn refuses the data: {error}") from error
    return Pipeline([("scaler", scaler), ("svm", svm)])


def _usable_scale(features: Float64, scale: Float64) -> Float64:
    """`scale`, but 1 % of the series' level for features that are constant up to rounding.

    Rounding noise as a unit would turn every later digit into an anomaly; 1 (scikit-learn's choice) ignores the
    sensor's own unit.
    """
    level = float(np.abs(features[:, [FEATURES.index("min"), FEATURES.index("max")]]).max())
    spread = features.std(axis=0)
    fallback = _CONSTANT_SCALE * level if level > 0 else 1.0
    usable: Float64 = np.where(spread <= _ROUNDING * level, fallback, scale)
    return usable
