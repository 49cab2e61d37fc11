"""The one-hot columns of users and items: their ids, and whatever else is known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.recommend.ratings import Int64, Ratings, in_id_order

Features = Mapping[str, Mapping[str, Sequence[str]]]
"""Field -> id -> values, such as {"genre": {"1": ["Comedy", "Drama"]}}."""

UNKNOWN: Final = -1
"""The place of a user or item that was not trained on."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns are 1 for each user and item.

    `user`: int64, (n_users, a); `item`: int64, (n_items, b); both hold column numbers below `count`, and `count`
    itself where a row has fewer. No column belongs to both sides. `trained`: bool, (count + 1,), the columns that
    some training rating has; nothing is known of the others.
    """

    users: list[str]
    items: list[str]
    user: Int64
    item: Int64
    count: int
    trained: np.ndarray[tuple[int], np.dtype[np.bool_]]


def columns_of(
    train: Ratings, user_features: Features | None = None, item_features: Features | None = None
) -> Columns:
    """Columns of all ids in `train` and in the features: one per user and item, and one per value of each field.

    An id that is in the features alone is known by these.
    """
    users = in_id_order([*train.users, *_ids(user_features)])
    items = in_id_order([*train.items, *_ids(item_features)])
    user, after_users = _side(users, user_features or {}, 0)
    item, count = _side(items, item_features or {}, after_users)
    user[user < 0] = item[item < 0] = count
    user_place, item_place = places_in(users, train.users)[train.user], places_in(items, train.items)[train.item]
    trained = np.zeros(count + 1, dtype=np.bool_)
    trained[user[np.unique(user_place)]] = trained[item[np.unique(item_place)]] = True
    trained[count] = False
    return Columns(users, items, user, item, count, trained)


def places_in(known: list[str], asked: list[str]) -> Int64:
    """The place in `known` of each of `asked`, UNKNOWN where it has none: int64."""
    place = {text: i for i, text in enumerate(known)}
    return np.fromiter((place.get(text, UNKNOWN) for text in asked), dtype=np.int64, count=len(asked))


def _ids(features: Features | None) -> list[str]:
    return [text for values in (features or {}).values() for text in values]


def _side(ids: list[str], features: Features, first: int) -> tuple[Int64, int]:
    """Columns from number `first` on of each id, -1 in unused places; and the number after the last."""
    number: dict[tuple[str, str], int] = {}
    start = first + len(ids)
    rows: list[list[int]] = []
    for place, text in enumerate(ids):
        row = [first + place]
        for field, values in features.items():
            for value in dict.fromkeys(values.get(text, ())):
                row.append(start + number.setdefault((field, value), len(number)))
        rows.append(row)
    table = np.full((len(ids), max(map(len, rows), default=1)), -1, dtype=np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table, start + len(number)
