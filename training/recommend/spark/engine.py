"""ALS fitted by Spark (`pyspark.ml.recommendation.ALS`) on ratings in memory or in a DataFrame."""

from typing import TYPE_CHECKING, Final

import numpy as np

from models.errors import BadInput
from models.recommend.ratings import Float32, Ratings
from training.recommend.als import AlsModel, AlsOptions, check_distinct, check_factors, check_trainable
from training.recommend.spark.frames import frame_of_ratings

if TYPE_CHECKING:
    from pyspark.ml.recommendation import ALSModel
    from pyspark.sql import DataFrame, SparkSession

# Ratings per block of ALS: the unit that one task solves. Fewer, larger blocks ship fewer vectors twice.
_RATINGS_PER_BLOCK: Final = 2_000_000
_CHECKPOINT_EVERY: Final = 10


def fit_spark(train: Ratings, options: AlsOptions, session: "SparkSession") -> AlsModel:
    """Factors fitted on `train`, as `fit_native` gives them; for the meaning of `options` see `als`.

    User vectors are the exact solution for the final item vectors. Equal input, options and number of cores give
    factors that are equal up to the order of sums. Raises BadInput if there is nothing to fit, a (user, item) pair
    comes twice, a rating cannot be used as a confidence, or the factors are not finite.
    """
    check_trainable(train, options)
    check_distinct(train, len(np.unique(train.user.astype(np.int64) * len(train.items) + train.item)))
    fitted = fit_frame(frame_of_ratings(train, session), len(train), options)
    return AlsModel(
        vectors_by_place(fitted.userFactors, len(train.users), options),
        vectors_by_place(fitted.itemFactors, len(train.items), options),
        options,
        "spark",
    )


def fit_frame(frame: "DataFrame", rows: int, options: AlsOptions) -> "ALSModel":
    """Spark's own model of a frame with int columns `user` and `item` and a float column `value`, of `rows` rows."""
    from pyspark.ml.recommendation import ALS
    from pyspark.sql import functions as sql

    if options.regularization is None:
        raise BadInput("Spark needs a regularization: it has no rule for one, only a default")
    parallelism = frame.sparkSession.sparkContext.defaultParallelism
    blocks = max(parallelism, -(-rows // _RATINGS_PER_BLOCK))
    implicit = options.objective == "implicit"
    if implicit and options.confidence == "ones":
        frame = frame.withColumn("value", sql.lit(1.0).cast("float"))
    als = ALS(
        userCol="user",
        itemCol="item",
        ratingCol="value",
        rank=options.factors,
        regParam=options.regularization,
        alpha=options.alpha,
        implicitPrefs=implicit,
        maxIter=options.iterations,
        seed=options.seed,
        numUserBlocks=blocks,
        numItemBlocks=blocks,
        checkpointInterval=_CHECKPOINT_EVERY,
        coldStartStrategy="drop",
    )
    return als.fit(frame)


def vectors_by_place(factors: "DataFrame", count: int, options: AlsOptions) -> Float32:
    """Vectors by place, zeros where Spark has none because the user or item has no row."""
    table = factors.toArrow()
    vectors = np.zeros((count, options.factors), dtype=np.float32)
    found = table.column("features").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors[table.column("id").to_numpy()] = found.reshape(-1, options.factors)
    check_factors(vectors, options)
    return vectors
