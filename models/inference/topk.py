"""The best items for a user vector, by scoring all of them in one graph: exact, up to some 100,000 items."""

import os
import threading
from typing import Final, NamedTuple

import numpy as np

from models.inference.sessions import open_session
from models.recommend.bundle import TOPK_FILE
from models.recommend.ratings import Float32, Int64

_INPUTS: Final = ["user", "items", "masked", "k"]
_MOST_CORES: Final = 4
_WORTH_SHARING: Final = 1_000_000
"""Numbers in the factors from which on a second core saves more than waking it costs."""


class TopK(NamedTuple):
    """Items by place (int64) and their scores (float32), best first, equal scores by place."""

    places: Int64
    scores: Float32


class ExactSearch:
    """All items of one version. Immutable and safe to call from several threads.

    A call that is alone uses all cores, which takes two thirds of the time on two; calls at the same time use one
    each, since there is nothing to gain then.
    """

    def __init__(self, graph: bytes, factors: Float32) -> None:
        """`factors`: float32, (n, f). Raises ModelRefused if the graph is another one."""
        self._session = open_session(graph, TOPK_FILE, _INPUTS)
        cores = min(os.cpu_count() or 1, _MOST_CORES) if factors.size >= _WORTH_SHARING else 1
        self._alone = open_session(graph, TOPK_FILE, _INPUTS, threads=cores) if cores > 1 else self._session
        self._free = threading.Lock()
        # One column per item, in the order in which the product reads it: 16 times faster than one row per item.
        self._columns: Float32 = np.ascontiguousarray(factors.T)

    def top(self, user: Float32, masked: Int64, k: int) -> TopK:
        """The k best items for `user` (float32, (f,)), places in `masked` left out; fewer if fewer are left."""
        given = {"user": user, "items": self._columns, "masked": masked, "k": np.array([k], dtype=np.int64)}
        alone = self._free.acquire(blocking=False)
        try:
            places, scores = (self._alone if alone else self._session).run(None, given)
        finally:
            if alone:
                self._free.release()
        return TopK(places, scores)


def best_of(scores: Float32, masked: Int64, k: int) -> TopK:
    """The k best of n scores (float32, (n,), overwritten), in NumPy: `ExactSearch` without a graph."""
    scores[masked] = -np.inf
    k = min(k, len(scores))
    # All that reach the k-th score, so that equal ones are told apart by place and not by chance.
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    places = np.flatnonzero((scores >= least) & (scores > -np.inf))
    places = places[np.lexsort((places, -scores[places]))][:k]
    return TopK(places, scores[places])
