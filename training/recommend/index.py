"""The approximate index of a large catalogue, with as many probes as its recall needs."""

from dataclasses import replace
from typing import Final

import numpy as np

from models.errors import ModelRefused
from models.inference.approximate import ApproximateSearch
from models.inference.search import FAISS
from models.inference.topk import best_of
from models.recommend.bundle import AlsBundle
from models.recommend.ratings import Float32, Int64

LARGE: Final = 200_000
"""Items from which on scoring all of them takes longer (2 ms on one core) than an index."""
RECALL: Final = 0.988
"""Of the ten best, on average. The lists it is measured with are masked harder than those of users: a million
clustered items with 0.989 here had 0.9935 with users' seen items, and the promise is 0.99."""
_K: Final = 10
_MASKED: Final = 100
_TRAINED_ON: Final = 100_000
_TRIED: Final = (16, 32, 64, 96, 128, 192, 256, 320, 384, 448, 512, 768, 1024)


def with_index(
    bundle: AlsBundle, users: Float32, *, recall: float = RECALL
) -> tuple[AlsBundle, dict[str, int | float | str]]:
    """The bundle with an index, and the parameters `search`, `probes` and `index_recall` of its manifest.

    `users`: float32, (u, f): vectors to measure recall with; some hundred will do. Raises ModelRefused if all probes
    do not reach `recall`.
    """
    index = build_index(bundle.factors)
    truth = [_truth(bundle.factors, user) for user in users]
    for probes in _TRIED:
        search = ApproximateSearch(index, bundle.factors, probes=probes)
        found = [search.top(user, masked, _K).places for user, (masked, _) in zip(users, truth, strict=True)]
        reached = float(np.mean([np.isin(best, mine).mean() for mine, (_, best) in zip(found, truth, strict=True)]))
        if reached >= recall:
            parameters: dict[str, int | float | str] = {"search": FAISS, "probes": probes, "index_recall": reached}
            return replace(bundle, index=index), parameters
    raise ModelRefused(f"index: recall@{_K} is {reached:.4f} with {_TRIED[-1]} probes, expected {recall}")


def build_index(factors: Float32) -> bytes:
    """An inverted file with 8-bit codes for inner products, some 2 sqrt(n) lists; equal factors give equal bytes."""
    import faiss

    n, f = factors.shape
    lists = int(2 ** np.round(np.log2(2 * np.sqrt(n))))
    index = faiss.index_factory(f, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    chosen = np.random.default_rng(0).choice(n, size=min(n, _TRAINED_ON), replace=False)
    index.train(factors[chosen])
    index.add(factors)
    return bytes(faiss.serialize_index(index).tobytes())


def _truth(factors: Float32, user: Float32) -> tuple[Int64, Int64]:
    """Masked places, which are some of the best as with real users, and the best of the others."""
    best = best_of(factors @ user, np.empty(0, dtype=np.int64), _K + _MASKED).places
    masked = np.random.default_rng(int(best[0])).choice(best, size=min(_MASKED, len(best) // 2), replace=False)
    return masked, best[~np.isin(best, masked)][:_K]
