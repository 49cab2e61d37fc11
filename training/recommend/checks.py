"""Integrity of ratings before anything is trained: what was expected, what came, and where.

Altered copies of public data sets are common: a `ua.base` that contains `ua.test`, single ratings changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.contracts.feedback import HIGHEST_RATING, LOWEST_RATING
from models.errors import BadInput
from models.recommend.ratings import Int64, Ratings

_SHOWN = 5
_MAX_AHEAD_S: Final = 300
"""As for ratings over HTTP: the sender's clock may be a little ahead."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is published of a file: its rows, users and items (0: not published), and its scale."""

    rows: int
    users: int = 0
    items: int = 0
    scale: tuple[float, float] = (1, 5)


# By file name. `ratings.dat` and `ratings.csv` come in several sizes: theirs are told apart by nothing else.
KNOWN: Final = {
    "u.data": Known(100_000, 943, 1_682),
    "ua.base": Known(90_570, 943),
    "ub.base": Known(90_570, 943),
    "ua.test": Known(9_430, 943),
    "ub.test": Known(9_430, 943),
    **{f"u{fold}.base": Known(80_000) for fold in range(1, 6)},
    **{f"u{fold}.test": Known(20_000) for fold in range(1, 6)},
}


def check_ratings(ratings: Ratings, name: str, *, rows: int | None = None) -> None:
    """Raises BadInput unless these are sound ratings: at most one per (user, item), and as many as expected.

    `name` is that of the file. `rows` is how many there must be; None: as many as MovieLens' file of this name has,
    if there is one, and then with its numbers of users and items and on its scale; 0: any number.
    """
    known = KNOWN.get(name) if rows is None else None
    expected = rows if rows is not None else known.rows if known else 0
    if expected and len(ratings) != expected:
        raise BadInput(
            f"{name}: expected {expected:,} ratings, got {len(ratings):,}; a file that is not MovieLens' own needs "
            "another name, or --rows 0"
        )
    if known:
        for what, want, got in (
            ("users", known.users, len(np.unique(ratings.user))),
            ("items", known.items, len(np.unique(ratings.item))),
        ):
            if want and want != got:
                raise BadInput(f"{name}: expected {want:,} {what}, got {got:,}")
        check_scale(ratings, name, *known.scale)
    if not len(ratings):
        raise BadInput(f"{name}: expected ratings, got none")
    _check_distinct(ratings, name)


def check_scale(ratings: Ratings, name: str, low: float, high: float) -> None:
    """Raises BadInput if a rating lies outside `low`..`high`."""
    outside = np.flatnonzero((ratings.value < low) | (ratings.value > high))
    if len(outside):
        raise BadInput(
            f"{name}: expected ratings of {low:g}..{high:g}, {len(outside):,} are outside: "
            f"{_listed(outside, lambda row: _rating(ratings, row))}"
        )


def check_histories(ratings: Ratings, name: str, now_s: float) -> None:
    """Raises BadInput if a rating cannot be in a user's history: outside the API's scale, or later than `now_s`.

    A rating from the future would win over all that its user rates until then, and so would the mark of a deletion.
    """
    check_scale(ratings, name, LOWEST_RATING, HIGHEST_RATING)
    ahead = np.flatnonzero(ratings.time_s > now_s + _MAX_AHEAD_S)
    if len(ahead):
        raise BadInput(
            f"{name}: expected no rating from the future (now it is {now_s:.0f}), {len(ahead):,} are: "
            f"{_listed(ahead, lambda row: f'{_rating(ratings, row)} at {ratings.time_s[row]}')}"
        )


def check_disjoint(train: Ratings, test: Ratings) -> None:
    """Raises BadInput if a (user, item) pair of `test` is in `train` too: such a test measures memory."""
    train_keys, test_keys = _shared_keys(train, test)
    inside = np.flatnonzero(np.isin(test_keys, train_keys))
    if len(inside):
        raise BadInput(
            f"expected no test rating in the training part, but {len(inside):,} of {len(test):,} are in it: "
            f"{_listed(inside, lambda row: _rating(test, row))}"
        )


def check_union(whole: Ratings, train: Ratings, test: Ratings) -> None:
    """Raises BadInput unless `train` and `test` together are `whole`: no pair less or more, no rating altered.

    The message names the pairs that differ. `train` and `test` must be disjoint.
    """
    keys, of_train, of_test = _shared_keys(whole, train, test)
    parts = np.concatenate([of_train, of_test])
    rating = np.concatenate([train.value, test.value])
    missing = np.flatnonzero(~np.isin(keys, parts))
    extra = np.flatnonzero(~np.isin(parts, keys))
    order = np.argsort(keys)
    at = np.minimum(np.searchsorted(keys, parts, sorter=order), len(keys) - 1)
    place = order[at]
    altered = np.flatnonzero((keys[place] == parts) & (whole.value[place] != rating))
    if not (len(missing) or len(extra) or len(altered)):
        return
    found = []
    if len(missing):
        found.append(f"{len(missing):,} are in neither part: {_listed(missing, lambda row: _rating(whole, row))}")
    if len(extra):
        both = _Joined(train, test)
        found.append(f"{len(extra):,} are in the parts only: {_listed(extra, both.rating)}")
    if len(altered):
        both = _Joined(train, test)
        text = _listed(altered, lambda row: f"{both.rating(row)} instead of {whole.value[place[row]]:g}")
        found.append(f"{len(altered):,} are altered: {text}")
    raise BadInput(f"expected the training and the test part to be the whole set; {'; '.join(found)}")


class _Joined:
    """Rows of two parts, one after the other."""

    def __init__(self, first: Ratings, second: Ratings) -> None:
        self._first, self._second = first, second

    def rating(self, row: int) -> str:
        return _rating(self._first, row) if row < len(self._first) else _rating(self._second, row - len(self._first))


def _check_distinct(ratings: Ratings, name: str) -> None:
    keys = ratings.user.astype(np.int64) * len(ratings.items) + ratings.item
    order = np.argsort(keys, kind="stable")
    again = order[1:][keys[order[1:]] == keys[order[:-1]]]
    if len(again):
        raise BadInput(
            f"{name}: expected one rating per user and item, {len(again):,} come again: "
            f"{_listed(np.sort(again), lambda row: f'{_rating(ratings, row)} in row {row + 1}')}"
        )


def _shared_keys(*parts: Ratings) -> list[Int64]:
    """One number per (user, item) pair, equal for equal ids in all parts."""
    users = {text: i for i, text in enumerate(dict.fromkeys(text for part in parts for text in part.users))}
    items = {text: i for i, text in enumerate(dict.fromkeys(text for part in parts for text in part.items))}
    keys = []
    for part in parts:
        user = np.array([users[text] for text in part.users], dtype=np.int64)
        item = np.array([items[text] for text in part.items], dtype=np.int64)
        keys.append(user[part.user] * len(items) + item[part.item])
    return keys


def _rating(ratings: Ratings, row: int) -> str:
    user, item = ratings.users[ratings.user[row]], ratings.items[ratings.item[row]]
    return f"({user}, {item}) rated {ratings.value[row]:g}"


def _listed(rows: Int64, shown: Callable[[int], str]) -> str:
    more = len(rows) - _SHOWN
    return ", ".join(shown(int(row)) for row in rows[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
