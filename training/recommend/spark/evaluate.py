"""Held-out figures of a fit that is too large for one machine's memory: users are ranked where Spark has them."""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.errors import BadInput
from models.recommend import metrics
from models.recommend.ratings import Float32, Int64

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.ml.recommendation import ALSModel
    from pyspark.sql import DataFrame

_SUMS: Final = ("map", "map_at_k", "ndcg_at_k", "precision_at_k", "recall_at_k")
_SCHEMA: Final = f"users long, {', '.join(f'{name} double' for name in _SUMS)}, item array<int>, times array<long>"
# Scores of so many bytes are held at once by a worker.
_BLOCK_BYTES: Final = 64 * 2**20


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
    parts = users.select("features", "seen", "relevant").mapInArrow(_ranker(shared, k), _SCHEMA).toArrow()
    shared.unpersist()
    n_users = int(np.sum(parts.column("users").to_numpy()))
    if not n_users:
        raise BadInput("evaluation: expected users with ratings in the training and the test part, there are none")
    found = {name: float(np.sum(parts.column(name).to_numpy())) / n_users for name in _SUMS}
    item = parts.column("item").combine_chunks().flatten().to_numpy()
    times = parts.column("times").combine_chunks().flatten().to_numpy()
    rarity = -np.log2(count[item] / count.sum())
    found["coverage"] = len(np.unique(item)) / int((count > 0).sum())
    found["novelty"] = float((rarity * times).sum() / times.sum())
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


def _ranker(shared: Any, k: int) -> "Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]":
    """What each worker does with its users: sums of their metrics, and how often each item is listed."""

    def ranked(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        item_factors, count = shared.value
        size = max(1, _BLOCK_BYTES // (4 * len(item_factors)))
        for batch in batches:
            for begin in range(0, batch.num_rows, size):
                yield _sums(batch.slice(begin, size), item_factors, count, k)

    return ranked


def _sums(block: "pa.RecordBatch", item_factors: Float32, count: Int64, k: int) -> "pa.RecordBatch":
    import pyarrow as pa

    n = block.num_rows
    factors = block.column("features").flatten().to_numpy(zero_copy_only=False).reshape(n, -1).astype(np.float32)
    scores = factors @ item_factors.T
    scores[:, count == 0] = -np.inf
    scores[_pairs(block.column("seen"))] = -np.inf
    lists = metrics.best_first(scores, k)
    user, item = _pairs(block.column("relevant"))
    hits, relevant = metrics.hits_in(lists, user, item)
    means = (
        metrics.mean_average_precision(hits, relevant),
        metrics.map_at_k(hits, relevant),
        metrics.ndcg_at_k(hits, relevant),
        metrics.precision_at_k(hits),
        metrics.recall_at_k(hits, relevant),
    )
    listed, times = np.unique(lists[lists >= 0], return_counts=True)
    columns = {"users": [n], **{name: [mean * n] for name, mean in zip(_SUMS, means, strict=True)}}
    schema = pa.schema(
        [
            pa.field("users", pa.int64()),
            *(pa.field(name, pa.float64()) for name in _SUMS),
            pa.field("item", pa.list_(pa.int32())),
            pa.field("times", pa.list_(pa.int64())),
        ]
    )
    return pa.RecordBatch.from_pydict({**columns, "item": [listed], "times": [times]}, schema=schema)


def _pairs(lists: "pa.ListArray") -> tuple[Int64, Int64]:
    """(row, value) of every value of the lists of a column."""
    sizes = lists.value_lengths().to_numpy(zero_copy_only=False)
    values = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return np.repeat(np.arange(len(lists)), sizes), values
