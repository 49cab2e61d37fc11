"""Titles and genres of items: MovieLens' `u.item`, `movies.dat`, `movies.csv`, or CSV with `item,title,genres`."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from models.errors import BadInput
from models.recommend.catalogue import Catalogue
from models.recommend.ratings import Ratings

# Beside which file of ratings they lie.
_BESIDE: Final = {
    "u.data": "u.item",
    "ua.base": "u.item",
    "ratings.dat": "movies.dat",
    "ratings.csv": "movies.csv",
}
_FLAGS_FROM: Final = 5
_NO_GENRES: Final = "(no genres listed)"


class ItemInfo(NamedTuple):
    """What is shown of an item."""

    title: str
    genres: tuple[str, ...] = ()


def items_beside(ratings: Path) -> Path | None:
    """The file that describes the items of `ratings`; None if there is none.

    MovieLens' own name for it, or `<stem>.items.csv`.
    """
    path = ratings.with_name(_BESIDE.get(ratings.name, f"{ratings.stem}.items.csv"))
    return path if path.is_file() else None


def read_items(path: Path) -> dict[str, ItemInfo]:
    """Title and genres by item id. Raises BadInput, with the line, for a file that does not describe items."""
    data = path.read_bytes()
    if path.suffix == ".item" or path.suffix == ".dat":
        text = _decoded(data)
        if path.suffix == ".dat":
            return parse_movies_dat(text, path.name)
        genres = path.with_name("u.genre")
        if not genres.is_file():
            raise BadInput(f"{path}: expected {genres.name} beside it, which names its genres")
        return parse_u_item(text, path.name, _genre_names(genres))
    return parse_items_csv(_decoded(data), path.name)


def parse_u_item(text: str, name: str, genres: list[str]) -> dict[str, ItemInfo]:
    """Lines of `id|title|date|video date|url|flag|flag...`, one flag per genre."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split("|")
        flags = cells[_FLAGS_FROM:]
        if len(flags) != len(genres):
            raise BadInput(
                f"{name} line {number}: expected id, title, two dates, a URL and {len(genres)} genre flags between "
                f"bars, got {len(cells)} cells"
            )
        chosen = tuple(genre for genre, flag in zip(genres, flags, strict=True) if flag == "1" and genre != "unknown")
        found[cells[0]] = ItemInfo(cells[1], chosen)
    return found


def parse_movies_dat(text: str, name: str) -> dict[str, ItemInfo]:
    """Lines of `id::title::genre|genre`."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split("::")
        if len(cells) != 3:
            raise BadInput(f"{name} line {number}: expected id::title::genres, got {line[:60]!r}")
        found[cells[0]] = ItemInfo(cells[1], _split(cells[2]))
    return found


def parse_items_csv(text: str, name: str) -> dict[str, ItemInfo]:
    """CSV with a header: `movieId` or `item`, `title`, and `genres` between bars, which may be missing."""
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    header = rows.fieldnames or []
    key = "movieId" if "movieId" in header else "item"
    if key not in header or "title" not in header:
        raise BadInput(f"{name}: expected a header with item (or movieId), title and genres, got {list(header)[:6]}")
    found = {}
    for row in rows:
        if not row[key] or row["title"] is None:
            raise BadInput(f"{name} line {rows.line_num}: expected an id and a title, got {list(row.values())[:4]}")
        found[row[key]] = ItemInfo(row["title"], _split(row.get("genres") or ""))
    return found


def catalogue_of(items: Sequence[str], infos: Mapping[str, ItemInfo], train: Ratings) -> Catalogue:
    """What is known of `items` (in the order of `in_id_order`), with how often `train` rates each."""
    known = [infos.get(item, ItemInfo("")) for item in items]
    counts = np.bincount(train.item, minlength=len(train.items))
    count_of = dict(zip(train.items, counts.tolist(), strict=True))
    return Catalogue(
        items=list(items),
        titles=[info.title for info in known],
        genres=[list(info.genres) for info in known],
        ratings=np.array([count_of.get(item, 0) for item in items], dtype=np.int64),
    )


def encode_items(items: Mapping[str, ItemInfo]) -> bytes:
    """CSV of items, as `parse_items_csv` reads it."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(("item", "title", "genres"))
    rows.writerows((item, info.title, "|".join(info.genres)) for item, info in items.items())
    return text.getvalue().encode()


def _split(genres: str) -> tuple[str, ...]:
    return tuple(genre for genre in genres.strip().split("|") if genre and genre != _NO_GENRES)


def _genre_names(path: Path) -> list[str]:
    """Lines of `name|number`, in the order of the numbers."""
    pairs = [line.rsplit("|", 1) for line in _decoded(path.read_bytes()).splitlines() if line.strip()]
    try:
        return [name for name, _ in sorted(((name, int(number)) for name, number in pairs), key=lambda pair: pair[1])]
    except ValueError as error:
        raise BadInput(f"{path.name}: expected lines of genre|number ({error})") from error


def _decoded(data: bytes) -> str:
    """UTF-8 where it is, else Latin-1, in which MovieLens 100k and 1M come."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
