"""Held-out figures of a fit that is too large for one machine's memory: users are ranked where Spark has them."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from models.errors import BadInput
from models.recommend import metrics
from models.recommend.ratings import Float32, Int64
from training.recommend.ranking import foreseen

if TYPE_CHECKING:
    from pyspark.ml.recommendation import ALSModel
    from pyspark.sql import DataFrame, Row

# Scores of so many bytes are held at once by a worker.
_BLOCK_BYTES: Final = 64 * 2**20


class _Sums(NamedTuple):
    """What a worker sends back of a block of users."""

    users: int
    metrics: dict[str, float]
    listed: Int64
    """(n_items,): how many of the users' lists hold the item."""


def evaluate_frame(
    model: "ALSModel", item_factors: Float32, train: "DataFrame", test: "DataFrame", k: int
) -> dict[str, float]:
    """Ranking metrics at `k`, as `ranking.evaluate` defines and names them, but for diversity; and `users`, how many.

    `train` and `test` have places. `item_factors`: float32, (n_items, f), by place; every worker gets a copy.
    Raises BadInput unless k is 1..n_items and some user has ratings in both parts.
    """
    from pyspark.sql import functions as sql

    n_items = len(item_factors)
    if not 1 <= k <= n_items:
        raise BadInput(f"k: expected 1..{n_items}, the number of items, got {k}")
    counted = train.groupBy("item").count().toArrow()
    count = np.zeros(n_items, dtype=np.int64)
    count[counted.column("item").to_numpy()] = counted.column("count").to_numpy()
    seen = train.groupBy("user").agg(sql.collect_list("item").alias("seen"))
    relevant = test.groupBy("user").agg(sql.collect_list("item").alias("relevant"))
    users = model.userFactors.withColumnRenamed("id", "user").join(seen, "user").join(relevant, "user")
    shared = users.sparkSession.sparkContext.broadcast((item_factors, count))
    parts = users.select("features", "seen", "relevant").rdd.mapPartitions(_ranker(shared, k)).collect()
    shared.unpersist()
    if not parts:
        raise BadInput("evaluation: expected users with ratings in the training and the test part, there are none")
    n_users, listed = sum(part.users for part in parts), np.sum([part.listed for part in parts], axis=0)
    found = {name: sum(part.metrics[name] for part in parts) / n_users for name in parts[0].metrics}
    item = np.flatnonzero(listed)
    found["coverage"] = len(item) / int((count > 0).sum())
    found["novelty"] = float((-np.log2(count[item] / count.sum()) * listed[item]).sum() / listed.sum())
    return found | {"users": float(n_users)}


def errors_of_frame(model: "ALSModel", test: "DataFrame") -> dict[str, float]:
    """`rmse`, `mae` and `r2` over the test ratings whose user and item were trained; `rated_share` is their share."""
    from pyspark.sql import functions as sql

    value, predicted = sql.col("value").cast("double"), sql.col("prediction").cast("double")
    error = value - predicted
    sums = (
        model.transform(test)
        .agg(
            sql.count(error).alias("n"),
            sql.sum(error * error).alias("squares"),
            sql.sum(sql.abs(error)).alias("sizes"),
            sql.var_pop(value).alias("variance"),
        )
        .first()
    )
    if sums is None or not sums["n"]:
        raise BadInput("evaluation: no test rating has its user and its item in the training part")
    mean_square = sums["squares"] / sums["n"]
    return {
        "rmse": math.sqrt(mean_square),
        "mae": sums["sizes"] / sums["n"],
        "r2": 1 - mean_square / sums["variance"] if sums["variance"] else math.nan,
        "rated_share": sums["n"] / test.count(),
    }


def _ranker(shared: Any, k: int) -> "Callable[[Iterable[Row]], Iterator[_Sums]]":
    """What each worker does with its users, block by block."""

    def ranked(rows: "Iterable[Row]") -> "Iterator[_Sums]":
        item_factors, count = shared.value
        size = max(1, _BLOCK_BYTES // (4 * len(item_factors)))
        left = iter(rows)
        while block := list(islice(left, size)):
            yield _sums(block, item_factors, count, k)

    return ranked


def _sums(block: "list[Row]", item_factors: Float32, count: Int64, k: int) -> _Sums:
    """Sums of the metrics of n users, and how often each item is in their lists."""
    scores = np.array([row["features"] for row in block], dtype=np.float32) @ item_factors.T
    scores[:, count == 0] = -np.inf
    scores[_pairs([row["seen"] for row in block])] = -np.inf
    lists = metrics.best_first(scores, k)
    means = foreseen(lists, *_pairs([row["relevant"] for row in block]))
    listed = np.bincount(lists[lists >= 0], minlength=len(count))
    return _Sums(len(block), {name: mean * len(block) for name, mean in means.items()}, listed)


def _pairs(lists: list[list[int]]) -> tuple[Int64, Int64]:
    """(row, value) of every value of the lists."""
    sizes = [len(values) for values in lists]
    return np.repeat(np.arange(len(lists)), sizes), np.fromiter(chain.from_iterable(lists), np.int64, sum(sizes))
