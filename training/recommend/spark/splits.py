"""The splits of `training.recommend.splits` in Spark: by the same hash, so the same rows."""

from typing import TYPE_CHECKING, Final

from models.errors import BadInput
from training.recommend.splits import By, Kind

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# As documented there.
_ID_HASH: Final = "cast(conv(substring(md5({0}), 1, 15), 16, 10) as bigint)"
_HASH: Final = "xxhash64({user}, {item}, cast({seed} as bigint))"
_DRAW: Final = "shiftrightunsigned(hash, 11) / 9007199254740992D"


def split_frame(
    frame: "DataFrame", kind: Kind, *, ratio: float = 0.75, seed: int = 42, by: By | None = None
) -> "tuple[DataFrame, DataFrame]":
    """(training part, test part) of a named frame; `by` as in `splits.split`.

    The rows are those that `splits.split` chooses, as long as no (user, item) pair comes twice. A chronological split
    by all sorts every row in one task. Raises BadInput unless 0 < ratio < 1 and `kind` and `by` fit.
    """
    if not 0 < ratio < 1:
        raise BadInput(f"ratio: expected a number between 0 and 1, got {ratio}")
    if kind == "recommenders":
        raise BadInput(
            "split recommenders depends on the order of rows and works in memory only; use --split stratified"
        )
    from pyspark.sql import functions as sql

    hashed = sql.expr(_HASH.format(user=_ID_HASH.format("user"), item=_ID_HASH.format("item"), seed=int(seed)))
    drawn = frame.withColumn("hash", hashed).withColumn("draw", sql.expr(_DRAW))
    # Materialized once by the caller's cache, if at all: the flag depends on the row and its group alone.
    flagged = drawn.withColumn("train", _training(kind, ratio, by)).drop("hash", "draw")
    return flagged.where("train").drop("train"), flagged.where("not train").drop("train")


def _training(kind: Kind, ratio: float, by: By | None) -> "Column":
    from pyspark.sql import Window
    from pyspark.sql import functions as sql

    if kind == "random":
        return sql.col("draw") < ratio
    if kind == "stratified" and by == "all":
        raise BadInput("split stratified: expected --by user or --by item, got all")
    group = sql.lit(0) if by == "all" else sql.col(by or "user")
    # Within equal draws the upper 53 bits are equal, so the sign of the hash is too.
    keys = ["draw", "hash"] if kind == "stratified" else ["time_s", "draw", "hash"]
    rank = sql.row_number().over(Window.partitionBy(group).orderBy(*keys))
    count = sql.count(sql.lit(1)).over(Window.partitionBy(group))
    return rank <= sql.rint(count * ratio)
