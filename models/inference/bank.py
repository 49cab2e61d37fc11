"""One graph that scores windows of any mix of series: all weights are graph inputs, gathered per window.

    z        = float32(x - mean[idx]) * inv[idx]       subtraction in float64: mean / scale may be 1e6
    e        = sv[idx] @ (z, 1, |z|^2)                 log(coef) - gamma * |s - z|^2, per support vector s
    decision = exp(logsumexp(e)) - rho[idx]            scikit-learn's decision_function
    score    = log(rho[idx]) - logsumexp(e)            the same boundary at 0, but it grows with the distance

The graph itself (`bank.onnx`) is made by `training.svm.export` and comes with the weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.contracts import PredictionStatus
from models.errors import ModelRefused
from models.features import FEATURES
from models.inference import guards
from models.inference.sessions import open_session
from models.inference.weights import GRAPH_FILE, WEIGHTS_FILE, Float64, Int64, Weights, decode_weights
from models.registry import Registry
from models.windowspec import WindowSpec

_CHUNK_VECTORS: Final = 65_536
"""Support vectors gathered in one call: what keeps a chunk in the cache, and its memory at some MB."""
_LANES: Final = 16
"""Calls are filled up to a multiple of this many windows. onnxruntime's vector loops round the remainder of an array
differently, so without it a score's last bit would depend on which windows happen to share the batch."""
_NARROWEST: Final = 16
_INPUTS: Final = ["idx", "x", "mean", "inv", "sv", "rho"]
_PADDING_SHIFT: Final = 1e4
_STATUS: Final = (PredictionStatus.LEARNING, PredictionStatus.INVALID, PredictionStatus.SCORED)
_LEARNING, _INVALID, _SCORED = range(3)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of n windows, in their order.

    `decision` and `score` are float64 (n,), NaN wherever `status` is not `scored`. `status` holds members of
    PredictionStatus (which are strings); `scored` is the same as a mask.
    """

    decision: Float64
    score: Float64
    status: list[str]
    scored: npt.NDArray[np.bool_]


class ModelBank:
    """The models of one fleet version, ready to score. Immutable and safe to call from several threads."""

    def __init__(self, weights: Weights, graph: bytes, *, version: str, spec: WindowSpec) -> None:
        """Raises ModelRefused if a model is degenerate, does not fit FEATURES, or the graph cannot be loaded."""
        if weights.mean.shape[-1] != len(FEATURES):
            raise ModelRefused(f"model {version}: expected {len(FEATURES)} features, got {weights.mean.shape[-1]}")
        guards.check(weights)
        self.version = version
        self.spec = spec
        # One thread is as fast as two here, and leaves the other cores to the rest of the worker.
        self._session = open_session(graph, f"model {version}: {GRAPH_FILE}", _INPUTS)
        self._rows = {series: row for row, series in enumerate(weights.series)}
        self._tables, self._table_of, self._place = _tables(weights)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, series: tuple[str, str]) -> bool:
        """Whether (device, sensor) has a model."""
        return series in self._rows

    def score(self, device: Sequence[str], sensor: Sequence[str], features: Float64) -> Scores:
        """Scores of n windows; features: float64 (n, len(FEATURES)), device and sensor of length n.

        A window's scores are the same to the bit whatever is scored with it. A series without a model is `learning`;
        features that are not finite, or a NaN as answer, are `invalid`.
        """
        n = len(device)
        if features.shape != (n, len(FEATURES)) or len(sensor) != n:
            raise ValueError(f"expected {n} sensors and features ({n}, {len(FEATURES)}), got {features.shape}")
        row = np.fromiter(map(self._rows.get, zip(device, sensor, strict=True), repeat(-1)), np.int64, n)
        known, finite = row >= 0, np.isfinite(features).all(axis=1)
        decision, score = np.full(n, np.nan), np.full(n, np.nan)
        # Unknown series never reach the graph: Gather takes -1 for the last model.
        usable = np.flatnonzero(known & finite)
        for table, weights in enumerate(self._tables):
            here = usable[self._table_of[row[usable]] == table]
            size = max(1, _CHUNK_VECTORS // weights["sv"].shape[1])
            for start in range(0, len(here), size):
                chunk = here[start : start + size]
                filled = np.append(chunk, np.repeat(chunk[-1:], -len(chunk) % _LANES))
                feeds = {"idx": self._place[row[filled]], "x": np.ascontiguousarray(features[filled])}
                dec, dist = self._session.run(["dec", "dist"], {**feeds, **weights})
                decision[chunk], score[chunk] = dec[: len(chunk)], dist[: len(chunk)]
        scored = np.isfinite(decision) & np.isfinite(score)
        decision[~scored] = score[~scored] = np.nan
        codes = np.where(scored, _SCORED, np.where(known, _INVALID, _LEARNING))
        return Scores(decision, score, [_STATUS[code] for code in codes.tolist()], scored)


def load_bank(registry: Registry, version: str) -> ModelBank:
    """The bank of a registered version. Raises NotFound; ModelRefused on a wrong digest or a degenerate model."""
    manifest = registry.manifest(version)
    if manifest.features != list(FEATURES):
        raise ModelRefused(f"model {version}: its features {manifest.features} are not {list(FEATURES)}")
    weights = decode_weights(registry.file(manifest, WEIGHTS_FILE))
    graph = registry.file(manifest, GRAPH_FILE)
    return ModelBank(weights, graph, version=version, spec=WindowSpec.parse(manifest.window))


def _tables(weights: Weights) -> tuple[list[Mapping[str, npt.NDArray[Any]]], Int64, Int64]:
    """Graph inputs by width class (16, 64, 256 ... vectors), and each series' table and place in it.

    Classes keep one series with many vectors from widening the rows of a whole fleet.
    """
    widths = np.full(len(weights), _NARROWEST)
    while (narrow := widths < weights.vectors).any():
        widths[narrow] *= 4
    table_of, place = np.zeros(len(weights), np.int64), np.zeros(len(weights), np.int64)
    tables: list[Mapping[str, npt.NDArray[Any]]] = []
    first = np.cumsum(weights.vectors) - weights.vectors
    for table, width in enumerate(np.unique(widths)):
        rows = np.flatnonzero(widths == width)
        table_of[rows], place[rows] = table, np.arange(len(rows))
        tables.append(_table(weights, rows, first, int(width)))
    return tables, table_of, place


def _table(weights: Weights, rows: Int64, first: Int64, width: int) -> Mapping[str, npt.NDArray[Any]]:
    slot = np.arange(width)
    padding = slot >= weights.vectors[rows, None]
    vector = first[rows, None] + np.where(padding, 0, slot)
    # Filled part by part: a float64 copy of the whole table would double the memory of a load.
    sv = np.empty((len(rows), width, len(FEATURES) + 2), dtype=np.float32)
    square = np.einsum("vf,vf->v", weights.support, weights.support)
    gamma = np.repeat(weights.gamma, weights.vectors)
    sv[:, :, :-2] = (2 * gamma[:, None] * weights.support)[vector]
    # A row of zeros with a low value wins the maximum far from the data; a shifted copy of a real row never does.
    sv[:, :, -2] = (np.log(weights.coef) - gamma * square)[vector] - np.where(padding, _PADDING_SHIFT, 0.0)
    sv[:, :, -1] = -weights.gamma[rows, None]
    return {
        "mean": weights.mean[rows],
        "inv": (1.0 / weights.scale[rows]).astype(np.float32),
        "sv": sv,
        "rho": weights.rho[rows].astype(np.float32),
    }
