"""Spark on this machine: the same rows, the same equations and the same figures as in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import BadInput, ConfigurationError
from models.recommend.ratings import Ratings
from training.recommend.als import AlsModel, AlsOptions
from training.recommend.ranking import evaluate, rank, ranking_metrics, scorer_of
from training.recommend.readers import RatingColumns, read_ratings
from training.recommend.spark.engine import fit_frame, fit_spark, vectors_by_place
from training.recommend.spark.evaluate import errors_of_frame, evaluate_frame
from training.recommend.spark.frames import frame_of_ratings, ids_of, named_frame_of_ratings, read_frame, with_places
from training.recommend.spark.java import require_java
from training.recommend.spark.session import spark_session
from training.recommend.spark.splits import split_frame
from training.recommend.splits import By, Kind, split

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def session() -> Iterator[SparkSession]:
    try:
        require_java()
    except ConfigurationError as missing:
        pytest.skip(str(missing))
    with spark_session("local[2]") as session:
        yield session


def tastes(users: int = 60, items: int = 40) -> Ratings:
    """Users of kind u % 4 rate mostly items of kind i % 4, and like them; all items are about equally popular."""
    rng = np.random.default_rng(0)
    same = np.arange(users)[:, None] % 4 == np.arange(items) % 4
    user, item = np.nonzero(rng.random((users, items)) < np.where(same, 0.7, 0.1))
    value = np.clip(np.rint(np.where(same[user, item], 4.5, 2.5) + rng.normal(0, 0.5, len(user))), 1, 5)
    order = rng.permutation(len(user))
    user, item, value = user[order], item[order], value[order]
    names = [f"usér {u}" for u in user], [str(i) for i in item]
    return Ratings.of(*names, value, rng.integers(1, 50, len(user)) + 1_700_000_000)


def rows_of(frame: DataFrame) -> set[tuple[object, ...]]:
    return {tuple(row) for row in frame.select("user", "item", "value", "time_s").collect()}


def named_rows(ratings: Ratings) -> set[tuple[object, ...]]:
    columns = ratings.user.tolist(), ratings.item.tolist(), ratings.value.tolist(), ratings.time_s.tolist()
    return {(ratings.users[u], ratings.items[i], value, time) for u, i, value, time in zip(*columns, strict=True)}


def test_implicit_factors_beat_popularity_and_solve_the_normal_equations(session: SparkSession) -> None:
    parts = split(tastes(), "random")
    options = AlsOptions(factors=6, regularization=0.05, alpha=3, iterations=12, confidence="ratings")
    model = fit_spark(parts.train, options, session)
    found = evaluate(model, parts, k=5)
    assert found.metrics["ndcg_at_k"] > 2 * found.popularity["ndcg_at_k"]
    items = model.item_factors.astype(float)
    for user in range(0, 60, 7):
        rows = parts.train.user == user
        chosen, confidence = items[parts.train.item[rows]], 3.0 * parts.train.value[rows]
        left = items.T @ items + rows.sum() * 0.05 * np.eye(6) + (chosen.T * confidence) @ chosen
        expected = np.linalg.solve(left, chosen.T @ (1 + confidence))
        np.testing.assert_allclose(model.user_factors[user], expected, atol=1e-3)


def test_explicit_factors_predict_ratings_and_those_without_rows_are_zero(session: SparkSession) -> None:
    user, item = np.nonzero(np.random.default_rng(0).random((60, 40)) < 0.5)
    ratings = Ratings.of([str(u) for u in user], [str(i) for i in item], np.where(user % 2 == item % 2, 5, 1))
    parts = split(ratings.rows((ratings.user != 3) & (ratings.item != 7)), "random", ratio=0.8)
    options = AlsOptions(objective="explicit", factors=3, regularization=0.05, iterations=5)
    model = fit_spark(parts.train, options, session)
    predicted = model.predict(parts.test.user, parts.test.item)
    assert np.sqrt(np.mean((predicted - parts.test.value) ** 2)) < 0.3 * parts.test.value.std()
    assert not model.user_factors[3].any()
    assert not model.item_factors[7].any()
    assert model.user_factors[2].any()


@pytest.mark.parametrize(
    ("kind", "by"),
    [
        ("random", None),
        ("stratified", "user"),
        ("stratified", "item"),
        ("chronological", None),
        ("chronological", "all"),
    ],
)
def test_splits_choose_the_rows_that_they_choose_in_memory(session: SparkSession, kind: Kind, by: By | None) -> None:
    ratings = tastes()
    named = named_frame_of_ratings(ratings, session)
    train, test = split_frame(named, kind, ratio=0.7, seed=5, by=by)
    expected = split(ratings, kind, ratio=0.7, seed=5, by=by)
    assert rows_of(train) == named_rows(expected.train)
    assert rows_of(test) == named_rows(expected.test)


def test_figures_at_scale_are_those_of_memory(session: SparkSession) -> None:
    parts = split(tastes(), "random", seed=1)
    options = AlsOptions(objective="explicit", factors=3, regularization=0.1, iterations=2)
    train, test = (frame_of_ratings(part, session).cache() for part in (parts.train, parts.test))
    fitted = fit_frame(train, len(parts.train), options)
    users, items = (
        vectors_by_place(factors, count, options)
        for factors, count in ((fitted.userFactors, 60), (fitted.itemFactors, 40))
    )
    ranking = rank(scorer_of(AlsModel(users, items, options, "spark")), parts, 5)
    expected = ranking_metrics(ranking, parts)
    found = evaluate_frame(fitted, items, train, test, 5)
    assert found.pop("users") == len(ranking.users)
    assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-6)
    errors = evaluate(AlsModel(users, items, options, "spark"), parts, 5).metrics
    assert errors_of_frame(fitted, test) == pytest.approx(
        {name: errors[name] for name in ("rmse", "mae", "r2", "rated_share")}, rel=1e-5
    )


def write_movielens(folder: Path, name: str, ratings: Ratings) -> Path:
    columns = ratings.user.tolist(), ratings.item.tolist(), ratings.value.tolist(), ratings.time_s.tolist()
    rows = [(u + 1, i + 1, f"{value:g}", time) for u, i, value, time in zip(*columns, strict=True)]
    if name.endswith(".parquet"):
        table = {"who": ratings.user, "what": ratings.item, "stars": ratings.value}
        pq.write_table(pa.table(table), folder / name)
        return folder / name
    between = {"u.data": "\t", "ratings.dat": "::"}.get(name, ",")
    head = {"ratings.csv": ["userId,movieId,rating,timestamp"], "own.csv": ["ts,item,rating,user"]}.get(name, [])
    if name == "own.csv":
        rows = [(time * 1000, f'"{i}, ""the"" item"', value, u) for u, i, value, time in rows]  # type: ignore[misc]  # other cells
    (folder / name).write_text("\n".join([*head, *(between.join(map(str, row)) for row in rows)]) + "\n")
    return folder / name


@pytest.mark.parametrize("name", ["u.data", "ratings.dat", "ratings.csv", "own.csv", "own.parquet"])
def test_files_are_read_as_in_memory(session: SparkSession, tmp_path: Path, name: str) -> None:
    ratings = tastes(20, 10)
    path = write_movielens(tmp_path, name, ratings)
    columns = RatingColumns("who", "what", "stars") if name == "own.parquet" else None
    frame = read_frame(str(path), session, columns=columns)
    in_memory = read_ratings(path, columns=columns)
    assert rows_of(frame) == named_rows(in_memory)
    ids = ids_of(frame)
    assert (ids.users, ids.items) == (in_memory.users, in_memory.items)
    places = {tuple(row) for row in with_places(frame, ids).select("user", "item").collect()}
    assert places == set(zip(in_memory.user.tolist(), in_memory.item.tolist(), strict=True))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "got an empty file"),
        ("user,item,rating\n", "expected ratings, got none"),
        ("who,what\na,b\n", "expected a column 'user'"),
        ("user,item,rating\na,x,five\n", "1 of 1 ratings have a rating that is not a finite number"),
        ("user,item,rating\na,x,NaN\n", "have a rating that is not a finite number"),
        ("user,item,rating\na,,3\n", "have an item that is not 1..256 characters"),
        ("user,item,rating,ts\na,x,3,-5\n", "1 of 1 ratings have a time that is none between 1970 and 2100"),
        ("user,item,rating,ts\na,x,3,yesterday\n", "have a time that is none"),
        ("user,item,rating\na,x,3\na,x,4\n", r"more than one for \(a, x\)"),
    ],
)
def test_files_that_hold_no_sound_ratings_are_refused(
    session: SparkSession, tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BadInput, match=reason):
        read_frame(str(tmp_path / "a.csv"), session)


def test_a_missing_file_is_refused(session: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.csv: expected ratings that Spark can read"):
        read_frame(str(tmp_path / "none.csv"), session)


def test_ratings_that_cannot_be_trained_on_are_refused(session: SparkSession) -> None:
    ratings = Ratings.of(["a", "a"], ["x", "x"], [1, 2])
    with pytest.raises(BadInput, match=r"1 of 2 ratings repeat a \(user, item\) pair"):
        fit_spark(ratings, AlsOptions(), session)
    with pytest.raises(BadInput, match=r"got none"):
        fit_spark(ratings.rows(np.zeros(2, dtype=bool)), AlsOptions(), session)
    with pytest.raises(BadInput, match=r"needs ratings above 0, got -1"):
        fit_spark(Ratings.of(["a"], ["x"], [-1]), AlsOptions(confidence="ratings"), session)


def test_a_url_of_azure_reaches_hadoop_as_it_is_and_what_is_missing_there_is_said(session: SparkSession) -> None:
    url = "abfss://ratings@account.dfs.core.windows.net/r.parquet"
    with pytest.raises(ConfigurationError, match="abfs") as refused:
        read_frame(url, session)
    # Without the jar; with it, the account would be asked.
    assert str(refused.value).startswith(f"{url}: Spark cannot open it: ")
    assert "SecureAzureBlobFileSystem" in str(refused.value)
