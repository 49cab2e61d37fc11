"""The best items of a large catalogue by an inverted file of faiss (IVF): a part of the items is scored, not all.

The index stores vectors in 8 bits and gives candidates; their scores are computed anew from the float32 factors.
Seen items lie where the user's vector points, so as many more candidates are fetched as items are masked. Where that
is too many, or too few are left, all items are scored.
"""

from typing import Any, Final

import numpy as np

from models.errors import ModelRefused
from models.inference.topk import TopK, best_of
from models.recommend.ratings import Float32, Int64

_MOST_CANDIDATES: Final = 4_096


class ApproximateSearch:
    """The items of one version. Immutable and safe to call from several threads."""

    def __init__(self, index: bytes, factors: Float32, *, probes: int) -> None:
        """`factors`: float32, (n, f); `probes`: lists to search. Raises ModelRefused if the index cannot be used."""
        try:
            import faiss
        except ImportError as error:
            raise ModelRefused(
                "this version has a faiss index: install faiss-cpu (pip install penstock[ann])"
            ) from error
        try:
            self._index: Any = faiss.deserialize_index(np.frombuffer(index, dtype=np.uint8))
        except RuntimeError as error:
            raise ModelRefused(f"the index cannot be read: {error}") from error
        if (self._index.ntotal, self._index.d) != factors.shape:
            raise ModelRefused(f"the index holds {self._index.ntotal} x {self._index.d}, the factors {factors.shape}")
        if probes < 1:
            raise ModelRefused(f"parameter probes: expected a number above 0, got {probes}")
        self._parameters: Any = faiss.SearchParametersIVF()
        self._parameters.nprobe = probes
        self._factors = factors

    def top(self, user: Float32, masked: Int64, k: int) -> TopK:
        """As `models.inference.search.Search`."""
        wanted = k + len(masked)
        if wanted > _MOST_CANDIDATES:
            return self._all(user, masked, k)
        _, found = self._index.search(user[None, :], wanted, params=self._parameters)
        places = found[0][found[0] >= 0]
        places = places[~np.isin(places, masked)]
        if len(places) < min(k, len(self._factors) - len(masked)):
            return self._all(user, masked, k)
        scores = self._factors[places] @ user
        order = np.lexsort((places, -scores))[:k]
        return TopK(places[order], scores[order])

    def _all(self, user: Float32, masked: Int64, k: int) -> TopK:
        return best_of(self._factors @ user, masked, k)
