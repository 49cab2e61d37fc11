"""Metrics of ranked lists, of predicted ratings and of yes-or-no predictions, each with its definition.

Ranked lists come as two arrays. `hits`: bool, (n_users, k); `hits[u, r]` says whether the item at rank r + 1 of user
u's list is relevant. A list that ends early has False in its last places. `relevant`: int, (n_users,), at least 1:
how many items are relevant to each user, in the list or not. Every metric is the mean over users.

The definitions, and the names `map` and `map_at_k` for the two that are both called MAP, are those of
recommenders-team/recommenders (`python_evaluation.py`), so that figures can be compared with its table.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from models.errors import BadInput

Hits = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]


def best_first(scores: Floats, k: int) -> npt.NDArray[np.int64]:
    """Places of the k highest scores of each row, best first; equal scores: the lower place first.

    `scores`: (n, m); -inf marks what must not be listed. The answer: int64, (n, k), -1 where nothing is left.
    Raises BadInput unless 1 <= k <= m.
    """
    n, m = scores.shape
    if not 1 <= k <= m:
        raise BadInput(f"k: expected 1..{m}, as many as there are items, got {k}")
    kth = np.partition(scores, m - k, axis=1)[:, m - k, None]
    above, equal = scores > kth, scores == kth
    room = k - above.sum(axis=1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= room))
    places = np.nonzero(chosen)[1].reshape(n, k)
    values = np.take_along_axis(scores, places, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    values = np.take_along_axis(values, order, axis=1)
    return np.where(np.isneginf(values), -1, np.take_along_axis(places, order, axis=1))


def hits_in(lists: Ints, user: Ints, item: Ints) -> tuple[Hits, Ints]:
    """`hits` and `relevant` of `lists`, (n_users, k) of item places or -1, when user[i] finds item[i] relevant.

    `user` are rows of `lists`. The pairs must be distinct.
    """
    width = int(max(item.max(initial=0), lists.max(initial=0))) + 1
    wanted = np.sort(user.astype(np.int64) * width + item)
    keys = np.arange(len(lists))[:, None] * width + lists
    at = np.minimum(np.searchsorted(wanted, keys), max(len(wanted) - 1, 0))
    found = (wanted[at] == keys) & (lists >= 0) if len(wanted) else np.zeros(lists.shape, dtype=np.bool_)
    return found, np.bincount(user, minlength=len(lists))


def precision_at_k(hits: Hits) -> float:
    """Hits / k; k is the same for all, also where fewer items are relevant."""
    return float(hits.mean())


def recall_at_k(hits: Hits, relevant: Ints) -> float:
    """Hits / all that is relevant."""
    return float((hits.sum(axis=1) / relevant).mean())


def mean_average_precision(hits: Hits, relevant: Ints) -> float:
    """`map`: the sum of the precisions at the hits / all that is relevant; below 1 where more is relevant than k."""
    return float((_precisions_at_hits(hits) / relevant).mean())


def map_at_k(hits: Hits, relevant: Ints) -> float:
    """The sum of the precisions at the hits / min(k, all that is relevant)."""
    return float((_precisions_at_hits(hits) / np.minimum(relevant, hits.shape[1])).mean())


def ndcg_at_k(hits: Hits, relevant: Ints) -> float:
    """Sum of 1 / ln(1 + rank) over the hits / the same sum over the first min(k, all that is relevant) ranks."""
    discount = 1 / np.log1p(np.arange(1, hits.shape[1] + 1))
    ideal = np.cumsum(discount)[np.minimum(relevant, hits.shape[1]) - 1]
    return float((hits @ discount / ideal).mean())


def coverage(lists: Ints, n_items: int) -> float:
    """Share of `n_items` items that is in any list."""
    return len(np.unique(lists[lists >= 0])) / n_items


def novelty(lists: Ints, count: Ints) -> float:
    """Mean over all listed items of -log2(share of the training ratings that are of this item).

    `count`: training ratings by item place. Items without any are not listed.
    """
    listed = lists[lists >= 0]
    return float(np.mean(-np.log2(count[listed] / count.sum())))


def diversity(lists: Ints, similarity: Callable[[Ints, Ints], Floats]) -> float:
    """1 - mean over users of the mean similarity of two items of a list; users with one item or none do not count.

    `similarity` takes two arrays of item places and gives the similarity of each pair, 0..1.
    """
    first, second = np.triu_indices(lists.shape[1], 1)
    a, b = lists[:, first], lists[:, second]
    both = (a >= 0) & (b >= 0)
    similar = np.zeros(a.shape)
    similar[both] = similarity(a[both], b[both])
    pairs = both.sum(axis=1)
    if not pairs.any():
        return 0.0
    return float(1 - np.mean(similar.sum(axis=1)[pairs > 0] / pairs[pairs > 0]))


def rmse(truth: Floats, predicted: Floats) -> float:
    """Root of the mean squared error."""
    return math.sqrt(float(np.mean(_errors(truth, predicted) ** 2)))


def mae(truth: Floats, predicted: Floats) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(_errors(truth, predicted))))


def r2(truth: Floats, predicted: Floats) -> float:
    """1 - squared error / squared deviation of `truth` from its mean; nan if `truth` is constant."""
    spread = float(np.sum((truth.astype(np.float64) - truth.mean(dtype=np.float64)) ** 2))
    return 1 - float(np.sum(_errors(truth, predicted) ** 2)) / spread if spread else math.nan


def accuracy(positive: Hits, predicted: Hits) -> float:
    """Share of right answers."""
    return float(np.mean(positive == predicted))


def f1(positive: Hits, predicted: Hits) -> float:
    """Harmonic mean of precision and recall of the positive class; 0 without a true positive."""
    both = float(np.sum(positive & predicted))
    return 2 * both / float(positive.sum() + predicted.sum()) if both else 0.0


def log_loss(positive: Hits, probability: Floats) -> float:
    """Mean negative natural logarithm of the probability given to what was the case; infinite after a sure error."""
    given = np.where(positive, probability, 1 - probability.astype(np.float64))
    with np.errstate(divide="ignore"):
        return float(-np.mean(np.log(given)))


def auc(positive: Hits, score: Floats) -> float:
    """Probability that a random positive scores above a random negative, ties counting half; nan without both."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return math.nan
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    # Equal scores share the mean of the ranks that they take up.
    rank = np.cumsum(count) - (count - 1) / 2
    above = rank[place][positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def _precisions_at_hits(hits: Hits) -> Float64:
    """Sum of the precisions at the hits, per user."""
    ranks = np.arange(1, hits.shape[1] + 1)
    sums: Float64 = (hits * np.cumsum(hits, axis=1) / ranks).sum(axis=1)
    return sums


def _errors(truth: Floats, predicted: Floats) -> Float64:
    return truth.astype(np.float64) - predicted.astype(np.float64)
