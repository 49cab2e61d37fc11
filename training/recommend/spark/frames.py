"""Ratings as Spark DataFrames: from memory or from files, with text ids or with places."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.contracts.readings import MILLISECONDS_FROM
from models.errors import BadInput, ConfigurationError
from models.recommend.ratings import Ratings, in_id_order
from training.recommend.readers import (
    CONTROL,
    LATEST_S,
    MAX_ID,
    MOVIELENS,
    RatingColumns,
    columns_named,
    is_movielens,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, SparkSession


@dataclass(frozen=True, slots=True)
class Ids:
    """Distinct ids in the order of `in_id_order`: place p is that of the p-th id."""

    users: list[str]
    items: list[str]


def frame_of_ratings(ratings: Ratings, session: "SparkSession") -> "DataFrame":
    """Columns `user` and `item` (int, places), `value` (float), `time_s` (long), one row per rating."""
    return session.createDataFrame(_table(ratings))


def named_frame_of_ratings(ratings: Ratings, session: "SparkSession") -> "DataFrame":
    """As `frame_of_ratings`, with ids as text instead of places."""
    import pyarrow as pa

    table = _table(ratings)
    for column, ids in (("user", ratings.users), ("item", ratings.items)):
        at = table.column_names.index(column)
        table = table.set_column(at, column, pa.array(ids, pa.string()).take(table[column]))
    return session.createDataFrame(table)


def read_frame(path: str, session: "SparkSession", *, columns: RatingColumns | None = None) -> "DataFrame":
    """Ratings at `path`: columns `user` and `item` (string), `value` (float), `time_s` (long, 0 if not known).

    `path` is whatever Spark reads: a local path or folder, `abfss://container@account.dfs.core.windows.net/...`,
    `hdfs://...`. Parquet is told by the ending `.parquet`; else the first line says what the file is, as for
    `readers.read_ratings`. Raises BadInput for a path that is missing or not ratings, and as `_check` does;
    ConfigurationError where Spark lacks what its URL needs.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        raw, used = _raw(path, session, columns)
        frame = raw.select(*_columns(raw, used))
        _check(frame, path)
    except PySparkException as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput(f"{path}: expected ratings that Spark can read: {reason}") from error
    except Py4JJavaError as error:
        # What Hadoop raises when it cannot open a file system at all: its class, jar or credentials are missing.
        raise ConfigurationError(f"{path}: Spark cannot open it: {error.java_exception.getMessage()}") from error
    return frame


def ids_of(frame: "DataFrame") -> Ids:
    """All ids of a named frame. They must fit in the memory of this process, as the factors will."""
    found = (frame.select(name).distinct().toArrow().column(name).to_pylist() for name in ("user", "item"))
    users, items = map(in_id_order, found)
    return Ids(users, items)


def with_places(frame: "DataFrame", ids: Ids) -> "DataFrame":
    """The same rows with places (int) instead of ids."""
    import pyarrow as pa

    session = frame.sparkSession
    for name, texts in (("user", ids.users), ("item", ids.items)):
        places = pa.table({name: pa.array(texts, pa.string()), "place": np.arange(len(texts), dtype=np.int32)})
        # Spark broadcasts the smaller side if it is small enough.
        frame = frame.join(session.createDataFrame(places), name).drop(name).withColumnRenamed("place", name)
    return frame


def _table(ratings: Ratings) -> "pa.Table":
    import pyarrow as pa

    return pa.table(
        {
            "user": np.asarray(ratings.user, dtype=np.int32),
            "item": np.asarray(ratings.item, dtype=np.int32),
            "value": np.asarray(ratings.value, dtype=np.float32),
            "time_s": np.asarray(ratings.time_s, dtype=np.int64),
        }
    )


def _raw(path: str, session: "SparkSession", columns: RatingColumns | None) -> "tuple[DataFrame, RatingColumns]":
    if path.rstrip("/").endswith(".parquet"):
        frame = session.read.parquet(path)
        return frame, columns or columns_named(frame.columns)
    head = session.read.text(path).head()
    line = (head[0] if head else "").lstrip("\ufeff")
    if not line.strip():
        raise BadInput(f"{path}: expected ratings, got an empty file")
    for delimiter in ("::", "\t"):
        if columns is None and is_movielens(line.split(delimiter)):
            raw = session.read.csv(path, sep=delimiter, quote="", schema=_schema(MOVIELENS))
            return raw, MOVIELENS
    delimiter = "\t" if "\t" in line and "," not in line else ","
    frame = session.read.csv(path, sep=delimiter, header=True, multiLine=True, escape='"', encoding="UTF-8")
    return frame, columns or columns_named(frame.columns)


def _schema(columns: RatingColumns) -> str:
    return f"{columns.user} string, {columns.item} string, {columns.rating} string, {columns.ts} string"


def _columns(raw: "DataFrame", used: RatingColumns) -> "list[Column]":
    from pyspark.sql import functions as sql

    for name in (used.user, used.item, used.rating):
        if name not in raw.columns:
            found = ", ".join(map(repr, raw.columns[:12]))
            raise BadInput(f"expected a column {name!r}, got {found}; say which with --columns")
    # A cell that is no number becomes null, and is counted by the checks.
    number = sql.expr(f"try_cast(`{used.rating}` as float)")
    seconds = sql.lit(0)
    if used.ts in raw.columns:
        given = sql.expr(f"try_cast(`{used.ts}` as double)")
        moment = sql.expr(f"unix_timestamp(try_cast(`{used.ts}` as timestamp))").cast("double")
        given = sql.coalesce(given, moment)
        seconds = sql.when(given >= MILLISECONDS_FROM, given / 1000).otherwise(given)
    return [
        sql.col(f"`{used.user}`").cast("string").alias("user"),
        sql.col(f"`{used.item}`").cast("string").alias("item"),
        number.alias("value"),
        seconds.cast("long").alias("time_s"),
    ]


def _check(frame: "DataFrame", path: str) -> None:
    """Raises BadInput unless every row has sound ids, a finite rating and a time, and no (user, item) comes twice."""
    from pyspark.sql import functions as sql

    def bad_id(name: str) -> "Column":
        text = sql.col(name)
        length = sql.length(text)
        return text.isNull() | (length < 1) | (length > MAX_ID) | text.rlike(CONTROL)

    value = sql.col("value")
    bad_value = value.isNull() | sql.isnan(value) | (sql.abs(value) == float("inf"))
    time_s = sql.col("time_s")
    bad_time = time_s.isNull() | (time_s < 0) | (time_s >= LATEST_S)
    reasons = {
        "rows": sql.lit(True),
        f"have a user that is not 1..{MAX_ID} characters without control ones": bad_id("user"),
        f"have an item that is not 1..{MAX_ID} characters without control ones": bad_id("item"),
        "have a rating that is not a finite number": bad_value,
        "have a time that is none between 1970 and 2100": bad_time,
    }
    counts = frame.agg(*(sql.count_if(reason).alias(name) for name, reason in reasons.items())).first()
    assert counts is not None, "an aggregate without groups has one row"
    if not counts["rows"]:
        raise BadInput(f"{path}: expected ratings, got none")
    for name in list(reasons)[1:]:
        if counts[name]:
            raise BadInput(f"{path}: {counts[name]:,} of {counts['rows']:,} ratings {name}")
    again = frame.groupBy("user", "item").count().where("count > 1").limit(5).collect()
    if again:
        shown = ", ".join(f"({row['user']}, {row['item']})" for row in again)
        raise BadInput(f"{path}: expected one rating per user and item, more than one for {shown}")
