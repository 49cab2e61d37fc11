"""Small fleets for the tests of training and scoring."""

import numpy as np

from models.features import FEATURES
from models.inference import ModelBank
from models.inference.weights import merge
from models.registry import Registry
from models.tables import Readings
from models.windowspec import WindowSpec
from tests.fakes import FakeBlobs, FakeClock
from training.history import Series, SeriesWindows
from training.svm.export import bank_graph
from training.svm.fit import Fleet, SvmOptions, fit_fleet
from training.svm.publish import Publishing

SPEC = WindowSpec(60, 60)


def noise_windows(
    series: Series = ("d", "s"), n: int = 100, *, mean: float = 20.0, scale: float = 1.0, seed: int = 0
) -> SeriesWindows:
    """Windows with features of steady noise: no readings, normal numbers in each feature."""
    features = np.random.default_rng(seed).normal(mean, scale, (n, len(FEATURES)))
    return SeriesWindows(series, np.arange(n, dtype=np.int64) * SPEC.size_us, features)


def fleet(*sets: SeriesWindows, options: SvmOptions | None = None) -> Fleet:
    return fit_fleet(sets, options or SvmOptions())


def bank(of: Fleet, version: str = "v1") -> ModelBank:
    return ModelBank(merge([fit.row for fit in of.fitted]), bank_graph(), version=version, spec=SPEC)


def publishing(blobs: FakeBlobs, clock: FakeClock | None = None, spec: WindowSpec = SPEC) -> Publishing:
    return Publishing(Registry(blobs, "svm"), spec, SvmOptions(), clock or blobs.clock)


def readings(
    *series: Series, minutes: int = 40, per_minute: int = 6, seed: int = 0, start_s: int = 1_700_000_040
) -> Readings:
    """Interleaved readings of steady noise, one stream position each."""
    rng = np.random.default_rng(seed)
    n = minutes * per_minute
    ts_us = (start_s * 1_000_000 + np.arange(n) * (60_000_000 // per_minute)).repeat(len(series))
    return Readings(
        device=[device for device, _ in series] * n,
        sensor=[sensor for _, sensor in series] * n,
        ts_us=ts_us.astype(np.int64),
        value=rng.normal(20.0, 1.0, n * len(series)),
        offset=np.arange(n * len(series), dtype=np.int64),
    )
