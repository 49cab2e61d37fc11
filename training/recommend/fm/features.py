"""What else is known of users and items, from files: further columns of a factorization machine."""

import csv
from pathlib import Path
from typing import Final

from models.errors import BadInput
from training.recommend.fm.columns import Features
from training.recommend.items import read_items

_U_USER: Final = ("user", "age", "sex", "occupation", "zip")
_TAKEN: Final = ("age", "sex", "occupation")
_DECADE: Final = 10


def item_genres(path: Path) -> Features:
    """The genres of each item, of any file that `read_items` knows."""
    return {"genre": {item: info.genres for item, info in read_items(path).items()}}


def user_features(path: Path) -> Features:
    """Fields of each user: MovieLens' `u.user`, or CSV with a column `user` and one column per field.

    A cell may hold several values between bars; an empty one holds none. Of `u.user` age (by decade), sex and
    occupation are taken. Raises BadInput for a file that is neither.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return _u_user(path, lines.read()) if path.name == "u.user" else _table(path, list(csv.reader(lines)))
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: expected UTF-8 text: {error}") from error


def _u_user(path: Path, text: str) -> Features:
    found: dict[str, dict[str, tuple[str, ...]]] = {field: {} for field in _TAKEN}
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split("|")
        if len(cells) != len(_U_USER) or not cells[1].isdigit():
            raise BadInput(f"{path.name} line {number}: expected {'|'.join(_U_USER)}, got {line[:60]!r}")
        user, age, sex, occupation, _ = cells
        found["age"][user] = (str(int(age) // _DECADE * _DECADE),)
        found["sex"][user] = (sex,)
        found["occupation"][user] = (occupation,)
    return found


def _table(path: Path, rows: list[list[str]]) -> Features:
    header = rows[0] if rows else []
    if "user" not in header or len(header) < 2 or len(set(header)) < len(header):
        raise BadInput(f"{path.name}: expected a header with user and one column per field, got {header[:6]}")
    at = header.index("user")
    found: dict[str, dict[str, tuple[str, ...]]] = {field: {} for field in header if field != "user"}
    for number, cells in enumerate(rows[1:], 2):
        if len(cells) != len(header):
            raise BadInput(f"{path.name} line {number}: expected {len(header)} cells, got {len(cells)}")
        for field, cell in zip(header, cells, strict=True):
            if field != "user":
                found[field][cells[at]] = tuple(value for value in cell.split("|") if value)
    return found
