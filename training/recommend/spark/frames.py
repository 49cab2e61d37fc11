"""Ratings as Spark DataFrames."""

from typing import TYPE_CHECKING

import numpy as np

from models.recommend.ratings import Ratings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def frame_of_ratings(ratings: Ratings, session: "SparkSession") -> "DataFrame":
    """Columns `user` and `item` (int, places), `value` (float), `time_s` (long), one row per rating."""
    import pyarrow as pa

    table = pa.table(
        {
            "user": np.asarray(ratings.user, dtype=np.int32),
            "item": np.asarray(ratings.item, dtype=np.int32),
            "value": np.asarray(ratings.value, dtype=np.float32),
            "time_s": np.asarray(ratings.time_s, dtype=np.int64),
        }
    )
    return session.createDataFrame(table)
