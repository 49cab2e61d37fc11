"""The proof, at registration, that the graphs of an ALS version answer what NumPy answers."""

from typing import Final

import numpy as np

from models.errors import ModelRefused
from models.inference.foldin import FoldIn
from models.inference.topk import ExactSearch, TopK
from models.recommend.bundle import AlsBundle
from models.recommend.equations import Equations
from models.recommend.ratings import Float32, Int64

FOLDIN_TOLERANCE: Final = 1e-5
"""Largest difference from a float64 solve, as a share of the largest component."""
SCORE_TOLERANCE: Final = 1e-5
"""Largest difference of a score, as a share of the largest one; items that are closer may swap places."""
_PROBES: Final = 32
_RATED: Final = (0, 1, 2, 5, 20, 100, 300)


def check_parity(bundle: AlsBundle, equations: Equations) -> dict[str, float]:
    """Metrics `topk_error` and `foldin_error` of a bundle. Raises ModelRefused if one is above its tolerance.

    Probes are seeded: equal bundles get an equal verdict.
    """
    errors = {
        "topk_error": topk_error(bundle.topk, bundle.factors),
        "foldin_error": foldin_error(bundle.foldin, bundle.factors, equations),
    }
    for name, limit in (("topk_error", SCORE_TOLERANCE), ("foldin_error", FOLDIN_TOLERANCE)):
        if not errors[name] <= limit:
            raise ModelRefused(f"{name} is {errors[name]:.3g}, more than {limit:g}: the graph does not fit the model")
    return errors


def topk_error(graph: bytes, factors: Float32) -> float:
    """Largest difference of scores between the graph and NumPy, over the largest score.

    inf if a masked or doubled item comes out, equal scores are out of order, or too few items come.
    """
    search, rng = ExactSearch(graph, factors), np.random.default_rng(0)
    n = len(factors)
    worst = 0.0
    for k in (1, 10, min(100, n), n + 1):
        for _ in range(_PROBES // 4):
            user = (factors[int(rng.integers(n))] + rng.normal(0, 0.01, factors.shape[1])).astype(np.float32)
            masked = rng.choice(n, size=min(n, int(rng.integers(0, 300))), replace=False).astype(np.int64)
            worst = max(worst, _difference(search.top(user, masked, k), factors @ user, masked, k))
    return worst


def reference_topk(scores: Float32, masked: Int64, k: int) -> TopK:
    """The rule itself: highest score first, equal scores by the lower place, masked places never."""
    allowed = np.ones(len(scores), dtype=np.bool_)
    allowed[masked] = False
    places = np.flatnonzero(allowed)
    order = np.lexsort((places, -scores[places]))[:k]
    return TopK(places[order], scores[places[order]])


def foldin_error(graph: bytes, factors: Float32, equations: Equations) -> float:
    """Largest difference of a component between the graph and a float64 solve, over the largest component."""
    fold, rng = FoldIn(graph, factors, equations), np.random.default_rng(0)
    worst = 0.0
    for count in _RATED:
        places = rng.choice(len(factors), size=min(count, len(factors)), replace=False).astype(np.int64)
        ratings = (rng.integers(1, 11, size=len(places)) / 2).astype(np.float32)
        found, expected = fold.user(places, ratings), fold.reference(places, ratings)
        if not np.isfinite(found).all():
            return float("inf")
        scale = np.abs(expected).max()
        worst = max(worst, float(np.abs(found - expected).max() / scale) if scale else float(np.abs(found).max()))
    return worst


def _difference(found: TopK, scores: Float32, masked: Int64, k: int) -> float:
    expected = reference_topk(scores, masked, k)
    ties = np.flatnonzero(found.scores[1:] == found.scores[:-1])
    if (
        len(found.places) != len(expected.places)
        or len(np.unique(found.places)) < len(found.places)
        or np.isin(found.places, masked).any()
        or (found.scores[1:] > found.scores[:-1]).any()
        or (found.places[ties + 1] < found.places[ties]).any()
    ):
        return float("inf")
    if not len(found.places):
        return 0.0
    # By rank, and each item's score against its own: a swap of items that differ by rounding is none.
    scale = max(float(np.abs(scores).max()), 1e-30)
    by_rank = np.abs(found.scores - expected.scores).max()
    by_item = np.abs(found.scores - scores[found.places]).max()
    return float(max(by_rank, by_item)) / scale
