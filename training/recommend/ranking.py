"""How well a recommender ranks and predicts what it was not trained on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import BadInput
from models.recommend import metrics
from models.recommend.ratings import Float32, Int32, Int64, Ratings
from training.recommend.als import AlsModel
from training.recommend.grouping import evenly, grouped
from training.recommend.splits import Split

# Scores of so many bytes are held at once.
_BLOCK_BYTES = 64 * 2**20
# Similarities within lists are looked up for so many users at most, evenly chosen.
_DIVERSE_USERS = 2_000

Scorer = Callable[[Int64], Float32]
"""Scores of all items for n users (places): float32, (n, n_items)."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Lists to evaluate: `lists[i]`, int64, (k,), are item places for user `users[i]`, -1 where it ends early."""

    users: Int64
    lists: npt.NDArray[np.int64]


def scorer_of(model: AlsModel) -> Scorer:
    """Scores by the product of factors."""
    transposed = np.ascontiguousarray(model.item_factors.T)
    return lambda users: model.user_factors[users] @ transposed


def popularity(train: Ratings) -> Scorer:
    """Scores by how often each item was rated in training, the same for everybody: what a recommender must beat."""
    counts = np.bincount(train.item, minlength=len(train.items)).astype(np.float32)
    return lambda users: np.broadcast_to(counts, (len(users), len(counts)))


def check_k(k: int, ratings: Ratings) -> None:
    """Raises BadInput unless k is 1..number of items."""
    if not 1 <= k <= len(ratings.items):
        raise BadInput(f"k: expected 1..{len(ratings.items)}, the number of items, got {k}")


def rank(scores: Scorer, split: Split, k: int) -> Ranking:
    """Top-k lists of every user with ratings in both parts.

    Candidates are all items that have a training rating and that the user has none for in training. Equal scores: the
    lower item id first. Raises BadInput unless k is 1..number of items, or if no user is in both parts.
    """
    train, test = split.train, split.test
    n_users, n_items = len(train.users), len(train.items)
    check_k(k, train)
    users = np.flatnonzero(np.bincount(train.user, minlength=n_users) * np.bincount(test.user, minlength=n_users))
    if not len(users):
        raise BadInput("evaluation: expected users with ratings in the training and the test part, there are none")
    cold = np.bincount(train.item, minlength=n_items) == 0
    by_user = grouped(train.user, n_users)
    blocks = []
    for block in _blocks(users, max(1, _BLOCK_BYTES // (4 * n_items))):
        table = np.array(scores(block), dtype=np.float32)
        table[:, cold] = -np.inf
        seen = [by_user.rows(user) for user in block]
        table[np.repeat(np.arange(len(block)), [*map(len, seen)]), train.item[np.concatenate(seen)]] = -np.inf
        blocks.append(metrics.best_first(table, k))
    return Ranking(users, np.concatenate(blocks))


def hit_metrics(ranking: Ranking, split: Split) -> dict[str, float]:
    """How well lists foresee the test part; every test rating counts as relevant, whatever its value."""
    test = split.test
    row = np.full(len(test.users), -1, dtype=np.int64)
    row[ranking.users] = np.arange(len(ranking.users))
    counted = row[test.user] >= 0
    return foreseen(ranking.lists, row[test.user[counted]], test.item[counted])


def foreseen(lists: Int64, row: Int64, item: npt.NDArray[np.integer]) -> dict[str, float]:
    """How well lists foresee: `item[i]` is relevant to `lists[row[i]]`; both (n,). Means over the lists, by name."""
    hits, relevant = metrics.hits_in(lists, row, item)
    return {
        "map": metrics.mean_average_precision(hits, relevant),
        "map_at_k": metrics.map_at_k(hits, relevant),
        "ndcg_at_k": metrics.ndcg_at_k(hits, relevant),
        "precision_at_k": metrics.precision_at_k(hits),
        "recall_at_k": metrics.recall_at_k(hits, relevant),
    }


def ranking_metrics(ranking: Ranking, split: Split) -> dict[str, float]:
    """All metrics of ranked lists, by name: those of `hit_metrics`, and what is in the lists."""
    train = split.train
    count = np.bincount(train.item, minlength=len(train.items))
    return hit_metrics(ranking, split) | {
        "coverage": metrics.coverage(ranking.lists, int((count > 0).sum())),
        "novelty": metrics.novelty(ranking.lists, count),
        "diversity": metrics.diversity(evenly(ranking.lists, _DIVERSE_USERS), cosine_by_users(train)),
    }


def rating_metrics(predict: Callable[[Int32, Int32], Float32], split: Split) -> dict[str, float]:
    """RMSE, MAE and R2 over test ratings whose user and item are in training; `rated_share` is the share of those."""
    train, test = split.train, split.test
    known = np.isin(test.user, train.user) & np.isin(test.item, train.item)
    if not known.any():
        raise BadInput("evaluation: no test rating has its user and its item in the training part")
    truth, predicted = test.value[known], predict(test.user[known], test.item[known])
    return {
        "rmse": metrics.rmse(truth, predicted),
        "mae": metrics.mae(truth, predicted),
        "r2": metrics.r2(truth, predicted),
        "rated_share": float(known.mean()),
    }


def cosine_by_users(train: Ratings) -> Callable[[metrics.Ints, metrics.Ints], metrics.Floats]:
    """Similarity of items as the cosine of the sets of users who rated them in training."""
    from scipy.sparse import csr_array

    shape = (len(train.items), len(train.users))
    matrix = csr_array((np.ones(len(train), dtype=np.float32), (train.item, train.user)), shape=shape)
    norm = np.sqrt(np.maximum(matrix.sum(axis=1), 1))

    def similarity(a: metrics.Ints, b: metrics.Ints) -> metrics.Floats:
        # The same pairs come again and again: popular items are in many lists.
        keys, place = np.unique(np.minimum(a, b) * len(norm) + np.maximum(a, b), return_inverse=True)
        first, second = keys // len(norm), keys % len(norm)
        found = np.empty(len(keys))
        for begin in range(0, len(keys), 100_000):
            part = slice(begin, begin + 100_000)
            shared = (matrix[first[part]] * matrix[second[part]]).sum(axis=1)
            found[part] = shared / (norm[first[part]] * norm[second[part]])
        similar: metrics.Floats = found[place]
        return similar

    return similarity


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Held-out figures of a model beside those of popularity, on one split, under plain names."""

    k: int
    metrics: dict[str, float]
    popularity: dict[str, float]
    train_ratings: int
    test_ratings: int
    users: int
    """How many were evaluated: those with ratings in both parts."""


def evaluate(model: AlsModel, split: Split, k: int) -> Evaluation:
    """Ranking metrics at `k`, and errors of predicted ratings if the objective is explicit, of a model of this split.

    Raises BadInput as `rank` does.
    """
    ranking = rank(scorer_of(model), split, k)
    found = ranking_metrics(ranking, split)
    if model.options.objective == "explicit":
        found |= rating_metrics(model.predict, split)
    return Evaluation(
        k=k,
        metrics=found,
        popularity=ranking_metrics(rank(popularity(split.train), split, k), split),
        train_ratings=len(split.train),
        test_ratings=len(split.test),
        users=len(ranking.users),
    )


def _blocks(users: Int64, size: int) -> Iterator[Int64]:
    for begin in range(0, len(users), size):
        yield users[begin : begin + size]
