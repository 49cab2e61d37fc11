"""The stored form of a bank: the parameters of one RBF One-Class SVM per series, and how each was trained.

Kept in float64 and without padding, so that any form a graph wants can be made from it.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from models.errors import ModelRefused

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

GRAPH_FILE: Final = "bank.onnx"
WEIGHTS_FILE: Final = "weights.npz"

_PER_SERIES: Final = ("gamma", "rho", "nu", "windows", "flagged", "vectors")
_ARRAYS: Final = ("mean", "scale", *_PER_SERIES, "support", "coef")
_INTEGERS: Final = ("windows", "flagged", "vectors")


@dataclass(frozen=True, slots=True)
class Weights:
    """d series with F features; `vectors` adds up to v. All floats are float64, all counts int64."""

    series: list[tuple[str, str]]
    """(device, sensor), sorted, each once."""
    mean: Float64
    """(d, F) of the scaler."""
    scale: Float64
    """(d, F) of the scaler: z = (x - mean) / scale."""
    gamma: Float64
    rho: Float64
    """Minus the intercept: decision = sum(coef * kernel) - rho."""
    nu: Float64
    windows: Int64
    """Windows each model was fitted on."""
    flagged: Int64
    """How many of those lie outside."""
    vectors: Int64
    """Support vectors per series."""
    support: Float64
    """(v, F) scaled support vectors, series after series."""
    coef: Float64
    """(v,) their dual coefficients."""

    def __len__(self) -> int:
        return len(self.series)


def select(weights: Weights, rows: Sequence[int]) -> Weights:
    """The series at `rows`, in that order."""
    index = np.asarray(rows, dtype=np.int64)
    first = np.cumsum(weights.vectors) - weights.vectors
    lines = [np.arange(first[i], first[i] + weights.vectors[i]) for i in index]
    line = np.concatenate(lines) if lines else np.empty(0, dtype=np.int64)
    return Weights(
        series=[weights.series[i] for i in index],
        mean=weights.mean[index],
        scale=weights.scale[index],
        support=weights.support[line],
        coef=weights.coef[line],
        **{name: getattr(weights, name)[index] for name in _PER_SERIES},
    )


def merge(parts: Sequence[Weights]) -> Weights:
    """All series of `parts`, sorted; of a series in several parts the last one counts."""
    latest = {series: i for i, series in enumerate(series for part in parts for series in part.series)}
    joined = Weights(
        series=[series for part in parts for series in part.series],
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS},
    )
    return select(joined, [latest[series] for series in sorted(latest)])


def encode_weights(weights: Weights) -> bytes:
    """Bytes of an `.npz` without pickles; equal weights give equal bytes."""
    names = json.dumps(weights.series, ensure_ascii=False, separators=(",", ":")).encode()
    arrays = {name: getattr(weights, name) for name in _ARRAYS}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, series=np.frombuffer(names, dtype=np.uint8), **arrays)
    return buffer.getvalue()


def decode_weights(data: bytes) -> Weights:
    """The weights of `encode_weights`. Raises ModelRefused if `data` is something else or its shapes disagree."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            series = [(str(device), str(sensor)) for device, sensor in json.loads(stored["series"].tobytes())]
            arrays: dict[str, Any] = {
                name: np.ascontiguousarray(stored[name], dtype=np.int64 if name in _INTEGERS else np.float64)
                for name in _ARRAYS
            }
            weights = Weights(series=series, **arrays)
    except (BadZipFile, OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise ModelRefused(f"weights file cannot be read: {error}") from error
    _check_shapes(weights)
    return weights


def _check_shapes(weights: Weights) -> None:
    d, v = len(weights), int(weights.vectors.sum())
    features = weights.mean.shape[-1]
    expected = {"mean": (d, features), "scale": (d, features), "support": (v, features), "coef": (v,)}
    expected |= {name: (d,) for name in _PER_SERIES}
    wrong = [name for name, shape in expected.items() if getattr(weights, name).shape != shape]
    if wrong or (weights.vectors < 0).any():
        raise ModelRefused(f"weights file: shapes of {', '.join(wrong) or 'vectors'} do not fit {d} series")
    if len(set(weights.series)) != d:
        raise ModelRefused("weights file: a series appears twice")
