"""Ratings and items from files, and what is said about files that are neither."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from models.errors import BadInput
from models.recommend.ratings import Ratings
from training.recommend import checks
from training.recommend.items import ItemInfo, encode_items, items_beside, read_items
from training.recommend.readers import RatingColumns, read_ratings

U_DATA = b"196\t242\t3\t881250949\n22\t377\t1\t878887116\n"


def rows(ratings: Ratings) -> list[tuple[str, str, float, int]]:
    return [
        (ratings.users[u], ratings.items[i], float(v), int(t))
        for u, i, v, t in zip(ratings.user, ratings.item, ratings.value, ratings.time_s, strict=True)
    ]


EXPECTED = [("196", "242", 3.0, 881250949), ("22", "377", 1.0, 878887116)]


@pytest.mark.parametrize(
    "data",
    [
        U_DATA,
        b"196::242::3::881250949\n22::377::1::878887116\n",
        b"userId,movieId,rating,timestamp\n196,242,3.0,881250949\r\n22,377,1.0,878887116\r\n",
        b"\xef\xbb\xbfuser,item,rating,ts\n196,242,3,881250949\n22,377,1,878887116\n",
        b"user,item,rating,ts\n196,242,3,881250949000\n22,377,1,878887116000\n",
        b"ts,rating,more,item,user\n1997-12-04T15:55:49Z,3,x,242,196\n1997-11-07T07:18:36Z,1,y,377,22\n",
    ],
    ids=["u.data", "ratings.dat", "ratings.csv", "csv", "milliseconds", "iso"],
)
def test_every_format_gives_the_same_ratings_from_bytes_and_from_a_path(data: bytes, tmp_path: Path) -> None:
    assert rows(read_ratings(data)) == EXPECTED
    path = tmp_path / "some file"
    path.write_bytes(data)
    assert rows(read_ratings(path)) == EXPECTED


@pytest.mark.parametrize("ids", [[196, 22], ["196", "22"]])
def test_parquet_may_hold_ids_as_numbers_or_text(ids: list[int] | list[str], tmp_path: Path) -> None:
    table = pa.table({"user": ids, "item": ["242", "377"], "rating": [3, 1], "ts": [881250949, 878887116]})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    (tmp_path / "r.parquet").write_bytes(buffer.getvalue())
    assert rows(read_ratings(buffer.getvalue())) == rows(read_ratings(tmp_path / "r.parquet")) == EXPECTED


def test_columns_may_have_any_names_and_times_may_be_missing() -> None:
    columns = RatingColumns.parse("user=who,item=what,rating=stars")
    found = read_ratings(b'what,who,stars\n"a, b",\xc3\xbc OR 1=1,4.5\n', columns=columns)
    assert rows(found) == [("ü OR 1=1", "a, b", 4.5, 0)]


def test_wrong_columns_are_refused() -> None:
    with pytest.raises(BadInput, match="expected 'user="):
        RatingColumns.parse("user=a,who=b")
    with pytest.raises(BadInput, match="expected one column 'stars', got 'user', 'item'; say which with --columns"):
        read_ratings(b"user,item\na,b\n", columns=RatingColumns(rating="stars"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected ratings, got an empty file"),
        (b" \n\n", "expected ratings, got an empty file"),
        (b"user,item,rating\n", "expected ratings, got none"),
        (b"\xff\xd8\xff\xe0 not text", "expected ratings as text or Parquet, got other bytes"),
        (b'{"user": 1}\n', "expected one column 'user'"),
        (b"Dear reader,\nthis is a letter.\n", "expected one column 'user'"),
        (b"PAR1 and no more", "x: .*Parquet"),
        (b"user,item,rating\na,b,good\n", "Row #2.*invalid value 'good'"),
        (b"user,item,rating\na,b,1\na,c\n", "Row #3: Expected 3 columns, got 2"),
        (b"1\t2\t3\t4\n1\t2\n", "Row #2: Expected 4 columns, got 2"),
        (b"user,item,rating\na,b,1\na,c,nan\n", "rating 2: expected a finite number, got nan"),
        (b"user,item,rating\na,b,1e999\n", "rating 1: expected a finite number"),
        (b"user,item,rating\na,b,\n", "rating 1: expected a finite number, got None"),
        (b"user,item,rating\na,b,1\n,c,1\n", "rating 2: expected a user of 1..256 characters"),
        (b"user,item,rating\na,b\x07,1\n", r"rating 1: expected a item .* got 'b\\x07'"),
        (b"user,item,rating\n" + b"a" * 257 + b",b,1\n", "257 characters"),
        (b"user,item,rating\n\xff,b,1\n", "invalid UTF8"),
        (b"user,item,rating,ts\na,b,1,yesterday\n", "expected times as epoch seconds"),
        (b"1\t2\t3\t9007199254740993\n", "9007199254740993 not in range"),
        (b"1\t2\t3\t-5\n", "rating 1: expected a time between 1970 and 2100, got -5"),
    ],
)
def test_what_is_not_ratings_is_bad_input_that_says_what_came(data: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_ratings(data, name="x")


@pytest.mark.parametrize("ids", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.large_string())])
def test_ids_may_be_any_text_of_a_parquet_file(ids: pa.DataType) -> None:
    assert rows(read_ratings(parquet_of(pa.array(["a", "b"]).cast(ids)))) == [("a", "x", 1, 0), ("b", "x", 2, 0)]


@pytest.mark.parametrize("ids", [pa.binary(), pa.dictionary(pa.int32(), pa.binary())])
def test_ids_that_are_bytes_are_refused(ids: pa.DataType) -> None:
    with pytest.raises(BadInput, match="expected users as text or whole numbers"):
        read_ratings(parquet_of(pa.array([b"a", b"b"]).cast(ids)))


def parquet_of(users: pa.Array) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.table({"user": users, "item": ["x", "x"], "rating": [1.0, 2.0]}), buffer)
    return buffer.getvalue()


def test_a_pair_that_comes_twice_is_named() -> None:
    ratings = Ratings.of(["a", "b", "a"], ["x", "x", "x"], [1, 2, 3])
    with pytest.raises(BadInput, match=r"1 come again: \(a, x\) rated 3 in row 3"):
        checks.check_ratings(ratings, "f.csv")


def test_movielens_files_are_held_to_their_published_sizes() -> None:
    ratings = read_ratings(U_DATA)
    with pytest.raises(BadInput, match=r"u\.data: expected 100,000 ratings, got 2; .* --rows 0"):
        checks.check_ratings(ratings, "u.data")
    checks.check_ratings(ratings, "u.data", rows=0)
    checks.check_ratings(ratings, "other.data")
    with pytest.raises(BadInput, match="expected 3 ratings, got 2"):
        checks.check_ratings(ratings, "other.data", rows=3)


def test_ratings_outside_the_scale_are_named() -> None:
    with pytest.raises(BadInput, match=r"ratings of 1\.\.5, 1 are outside: \(b, x\) rated 7"):
        checks.check_scale(Ratings.of(["a", "b"], ["x", "x"], [1, 7]), "f", 1, 5)


WHOLE = Ratings.of(["a", "a", "b", "c"], ["x", "y", "x", "z"], [1, 2, 3, 4])


def test_a_test_part_inside_the_training_part_is_refused() -> None:
    # The ids of the two lie at different places.
    test = Ratings.of(["c", "d"], ["z", "x"], [4, 1])
    with pytest.raises(BadInput, match=r"but 1 of 2 are in it: \(c, z\) rated 4"):
        checks.check_disjoint(WHOLE, test)
    checks.check_disjoint(WHOLE, Ratings.of(["c"], ["x"], [4]))


def test_parts_must_be_the_whole() -> None:
    first, second = Ratings.of(["a", "b"], ["x", "x"], [1, 3]), Ratings.of(["c", "a"], ["z", "y"], [4, 2])
    checks.check_union(WHOLE, first, second)
    with pytest.raises(BadInput, match=r"1 are in neither part: \(c, z\) rated 4"):
        checks.check_union(WHOLE, first, Ratings.of(["a"], ["y"], [2]))
    with pytest.raises(BadInput, match=r"1 are in the parts only: \(d, y\) rated 5"):
        checks.check_union(WHOLE, first, Ratings.of(["c", "a", "d"], ["z", "y", "y"], [4, 2, 5]))
    with pytest.raises(BadInput, match=r"1 are altered: \(c, z\) rated 3 instead of 4"):
        checks.check_union(WHOLE, first, Ratings.of(["c", "a"], ["z", "y"], [3, 2]))


def test_titles_and_genres_are_read_as_movielens_has_them(tmp_path: Path) -> None:
    (tmp_path / "u.genre").write_text("unknown|0\nAction|1\nDrama|2\n\n")
    (tmp_path / "u.item").write_bytes("1|Café (1995)|01-Jan-1995||http://x|0|1|1\n2|Two||||1|0|0\n".encode("latin-1"))
    (tmp_path / "movies.dat").write_bytes("1::Café (1995)::Action|Drama\n2::A::Drama\n".encode("latin-1"))
    (tmp_path / "movies.csv").write_text('movieId,title,genres\n1,"Café, a",Action|Drama\n2,B,(no genres listed)\n')
    (tmp_path / "own.csv").write_text("item,title\n1,Café\n")
    assert read_items(tmp_path / "u.item") == {
        "1": ItemInfo("Café (1995)", ("Action", "Drama")),
        "2": ItemInfo("Two", ()),
    }
    assert read_items(tmp_path / "movies.dat")["1"] == ItemInfo("Café (1995)", ("Action", "Drama"))
    assert read_items(tmp_path / "movies.csv") == {
        "1": ItemInfo("Café, a", ("Action", "Drama")),
        "2": ItemInfo("B", ()),
    }
    assert read_items(tmp_path / "own.csv") == {"1": ItemInfo("Café", ())}


def test_items_are_found_beside_their_ratings(tmp_path: Path) -> None:
    assert items_beside(tmp_path / "u.data") is None
    (tmp_path / "u.item").touch()
    assert items_beside(tmp_path / "u.data") == tmp_path / "u.item"
    assert items_beside(tmp_path / "other.csv") is None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("movies.dat", "1::A\n", "line 1: expected id::title::genres"),
        ("items.csv", "who,what\n", "expected a header with item"),
        ("items.csv", "item,title\n,x\n", "line 2: expected an id and a title"),
    ],
)
def test_files_that_do_not_describe_items_are_bad_input(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=message):
        read_items(tmp_path / name)


MOVIELENS = Path(os.environ.get("MOVIELENS", "none"))


@pytest.mark.skipif(not MOVIELENS.exists(), reason="MOVIELENS names no folder of MovieLens 100k")
def test_movielens_is_read_and_is_whole() -> None:
    whole, train, test = (read_ratings(MOVIELENS / name) for name in ("u.data", "ua.base", "ua.test"))
    for ratings, name in ((whole, "u.data"), (train, "ua.base"), (test, "ua.test")):
        checks.check_ratings(ratings, name)
    checks.check_disjoint(train, test)
    checks.check_union(whole, train, test)
    assert math.isclose(np.mean(train.value >= 4), 0.5510, abs_tol=5e-5)
    items = read_items(MOVIELENS / "u.item")
    assert len(items) == 1682
    assert items["1"] == ItemInfo("Toy Story (1995)", ("Animation", "Children's", "Comedy"))


def test_items_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    items = {"1": ItemInfo('A "quoted", title', ("Drama", "Sci-Fi")), "2": ItemInfo("Café")}
    (tmp_path / "items.csv").write_bytes(encode_items(items))
    assert read_items(tmp_path / "items.csv") == items
