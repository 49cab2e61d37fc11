"""Ratings from files: MovieLens (`u.data`, `ratings.dat`, `ratings.csv`), any CSV file with a header, and Parquet.

What a file is follows from its content, so it may come from a path or as the bytes of a blob.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from models.columns import parse_columns
from models.contracts.readings import MAX_EPOCH_US, MILLISECONDS_FROM
from models.errors import BadInput
from models.recommend.ratings import Float32, Int32, Int64, Ratings

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ID: Final = 256
CONTROL: Final = r"[\x00-\x1f\x7f-\x9f\ufffd]"
"""What no id holds: control characters, and U+FFFD, which stands for bytes that were no text. For Python and Java."""
LATEST_S: Final = MAX_EPOCH_US // 1_000_000
"""Times end before this one."""
_HEAD_BYTES: Final = 65_536
_MOVIELENS_HEADER: Final = ["userId", "movieId", "rating", "timestamp"]


@dataclass(frozen=True, slots=True)
class RatingColumns:
    """Which column of a CSV or Parquet file holds which part of a rating; a file without `ts` has no times."""

    user: str = "user"
    item: str = "item"
    rating: str = "rating"
    ts: str = "ts"

    @classmethod
    def parse(cls, mapping: str) -> "RatingColumns":
        """The columns of a text such as `user=who,item=what,rating=stars,ts=when`; parts may be left out."""
        return cls(**parse_columns(mapping, cls.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a text file is cut into columns: `names` None stands for those of its first line."""

    delimiter: str
    names: list[str] | None
    columns: RatingColumns
    quotes: bool = True


MOVIELENS: Final = RatingColumns("userId", "movieId", "rating", "timestamp")
_U_DATA: Final = _Layout("\t", _MOVIELENS_HEADER, MOVIELENS, quotes=False)
# The delimiter of two colons leaves an empty column between any two.
_RATINGS_DAT: Final = _Layout(
    ":", ["userId", "_1", "movieId", "_2", "rating", "_3", "timestamp"], MOVIELENS, quotes=False
)


def read_ratings(source: Path | bytes, *, name: str | None = None, columns: RatingColumns | None = None) -> Ratings:
    """The ratings in `source`, rows in its order; `name` is what errors call it (default: the path).

    `columns` are those of a CSV or Parquet file (default: MovieLens' own where the header has them, else `user`,
    `item`, `rating`, `ts`). Times are epoch seconds, epoch milliseconds or ISO 8601. Raises BadInput, with the row
    where one is to blame, for a file that is empty, broken or not ratings, for ids that are empty, longer than 256
    characters or hold control characters, and for a rating that is missing or not finite.
    """
    import pyarrow as pa

    called = name or (str(source) if isinstance(source, Path) else "ratings")
    head = _head(source)
    if not head.strip():
        raise BadInput(f"{called}: expected ratings, got an empty file")
    try:
        if head.startswith(b"PAR1"):
            table, used = _parquet(source, columns)
        else:
            layout = _layout(head, columns, called)
            table, used = _text(source, layout), layout.columns
        return _ratings(table, used, called)
    except OSError as error:
        # Arrow raises plain OSErrors for broken files too; one with a number is the operating system's.
        if error.errno is not None:
            raise
        raise BadInput(f"{called}: {error}") from error
    except (ValueError, pa.ArrowNotImplementedError) as error:
        # A ValueError is Arrow's ArrowInvalid, or says that text is not UTF-8.
        raise BadInput(f"{called}: {error}") from error


def _head(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:_HEAD_BYTES]
    with source.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _layout(head: bytes, columns: RatingColumns | None, called: str) -> _Layout:
    try:
        first = head.split(b"\n", 1)[0].decode("utf-8-sig").strip("\r")
    except UnicodeDecodeError as error:
        raise BadInput(f"{called}: expected ratings as text or Parquet, got other bytes ({error})") from error
    if columns is None and is_movielens(first.split("::")):
        return _RATINGS_DAT
    if columns is None and is_movielens(first.split("\t")):
        return _U_DATA
    delimiter = "\t" if "\t" in first and "," not in first else ","
    header = next(csv.reader([first], delimiter=delimiter), [])
    used = columns or columns_named(header)
    _check_columns(header, used, called)
    return _Layout(delimiter, None, used)


def columns_named(names: list[str]) -> RatingColumns:
    """MovieLens' own columns where a file has them, else the default ones."""
    return MOVIELENS if {"userId", "movieId", "rating"} <= set(names) else RatingColumns()


def _check_columns(names: list[str], columns: RatingColumns, called: str) -> None:
    for name in (columns.user, columns.item, columns.rating):
        if names.count(name) != 1:
            found = ", ".join(repr(each[:40]) for each in names[:12])
            raise BadInput(f"{called}: expected one column {name!r}, got {found}; say which with --columns")


def is_movielens(cells: list[str]) -> bool:
    """Whether these are the cells of a MovieLens line: two ids, a rating and a time, all numbers."""
    try:
        return len([float(cell) for cell in cells]) == 4
    except ValueError:
        return False


def _text(source: Path | bytes, layout: _Layout) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    coded = pa.dictionary(pa.int32(), pa.string())
    used = layout.columns
    # On this thread alone: errors then name the row, and no pool thread outlives the interpreter.
    return arrow_csv.read_csv(
        source if isinstance(source, Path) else pa.BufferReader(source),
        read_options=arrow_csv.ReadOptions(column_names=layout.names, use_threads=False),
        parse_options=arrow_csv.ParseOptions(
            delimiter=layout.delimiter, quote_char='"' if layout.quotes else False, newlines_in_values=layout.quotes
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types={used.user: coded, used.item: coded, used.rating: pa.float64()},
            null_values=[""],
            strings_can_be_null=False,
        ),
    )


def _parquet(source: Path | bytes, columns: RatingColumns | None) -> "tuple[pa.Table, RatingColumns]":
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(
        source if isinstance(source, Path) else pa.BufferReader(source), pre_buffer=False
    ) as file:
        names = file.schema_arrow.names
        columns = columns or columns_named(names)
        wanted = {columns.user, columns.item, columns.rating, columns.ts}
        return file.read(columns=[name for name in names if name in wanted], use_threads=False), columns


def _ratings(table: "pa.Table", columns: RatingColumns, called: str) -> Ratings:
    names = table.column_names
    _check_columns(names, columns, called)
    if not table.num_rows:
        raise BadInput(f"{called}: expected ratings, got none")
    users, user = _ids(table[columns.user], "user", called)
    items, item = _ids(table[columns.item], "item", called)
    value = _values(table[columns.rating], called)
    times = _times(table[columns.ts], called) if columns.ts in names else np.zeros(table.num_rows, dtype=np.int64)
    return Ratings.of_codes(users, user, items, item, value, times)


def _ids(column: "pa.ChunkedArray", what: str, called: str) -> tuple[list[str], Int32]:
    import pyarrow as pa

    if column.null_count:
        raise BadInput(f"{called}: expected a {what} in every row, {column.null_count} have none")
    held = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    text_types = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer)
    if not any(of_type(held) for of_type in text_types):
        raise BadInput(f"{called}: expected {what}s as text or whole numbers, got {column.type}")
    if column.type != pa.dictionary(pa.int32(), pa.string()):
        column = column.cast(pa.string()).dictionary_encode()
    coded = column.unify_dictionaries().combine_chunks()
    ids: list[str] = coded.dictionary.to_pylist()
    codes: Int32 = coded.indices.to_numpy()
    for place, text in enumerate(ids):
        if not 0 < len(text) <= MAX_ID or re.search(CONTROL, text):
            row = int(np.flatnonzero(codes == place)[0]) + 1
            raise BadInput(
                f"{called}: rating {row}: expected a {what} of 1..{MAX_ID} characters, no control ones nor U+FFFD, "
                f"got {text[:40]!r}{f' ({len(text)} characters)' if len(text) > MAX_ID else ''}"
            )
    return ids, codes


def _values(column: "pa.ChunkedArray", called: str) -> Float32:
    import pyarrow as pa

    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise BadInput(f"{called}: expected numbers as ratings, got {column.type}")
    values: Float32 = column.cast(pa.float64()).to_numpy().astype(np.float32)  # missing ones become nan
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise BadInput(f"{called}: rating {row + 1}: expected a finite number, got {column[row]}")
    return values


def _times(column: "pa.ChunkedArray", called: str) -> Int64:
    """Epoch seconds, cut to whole ones."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False).cast(pa.int64())
        seconds = column.to_numpy() / 1e6
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        given = column.cast(pa.float64()).to_numpy()
        seconds = np.where(given >= MILLISECONDS_FROM, given / 1000, given)
    else:
        raise BadInput(
            f"{called}: expected times as epoch seconds, epoch milliseconds or ISO 8601, got {column.type} "
            f"({str(column[0])[:40]!r})"
        )
    wrong = ~((seconds >= 0) & (seconds < LATEST_S))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise BadInput(f"{called}: rating {row + 1}: expected a time between 1970 and 2100, got {column[row]}")
    whole: Int64 = seconds.astype(np.int64)
    return whole
