"""Ratings as columns, and the order of ids by which ties are broken."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from models.errors import BadInput

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ratings:
    """n ratings as columns: row i says that `users[user[i]]` gave `items[item[i]]` the rating `value[i]`.

    `users` and `items` are distinct ids in the order of `in_id_order`: the lower place is the lower id, and an id
    without rows is allowed. `user`, `item`: int32, (n,). `value`: float32, (n,), finite. `time_s`: int64, (n,), epoch
    seconds, 0 where it is not known. Rows are in the order of their source.
    """

    users: list[str]
    items: list[str]
    user: Int32
    item: Int32
    value: Float32
    time_s: Int64

    def __len__(self) -> int:
        return len(self.value)

    @classmethod
    def of(
        cls,
        user: Sequence[str],
        item: Sequence[str],
        value: npt.ArrayLike,
        time_s: npt.ArrayLike | None = None,
    ) -> Self:
        """Ratings of these rows. Raises BadInput if a value is not finite or the columns differ in length."""
        values = np.asarray(value, dtype=np.float32)
        times = np.zeros(len(values), dtype=np.int64) if time_s is None else np.asarray(time_s, dtype=np.int64)
        if not len(user) == len(item) == len(values) == len(times):
            raise BadInput(
                f"ratings: columns differ in length: {len(user)} users, {len(item)} items, {len(values)} values, "
                f"{len(times)} times"
            )
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise BadInput(f"ratings: expected a finite rating, got {values[row]} in row {row}")
        users, user_codes = _placed(user)
        items, item_codes = _placed(item)
        return cls(users, items, user_codes, item_codes, values, times)

    @classmethod
    def of_codes(
        cls,
        user_ids: Sequence[str],
        user: npt.NDArray[np.integer],
        item_ids: Sequence[str],
        item: npt.NDArray[np.integer],
        value: npt.ArrayLike,
        time_s: npt.ArrayLike,
    ) -> Self:
        """Ratings of n rows whose ids are places in lists of distinct ids, which may be in any order."""
        users, places_of_users = _placed(user_ids)
        items, places_of_items = _placed(item_ids)
        return cls(
            users,
            items,
            places_of_users[user],
            places_of_items[item],
            np.asarray(value, dtype=np.float32),
            np.asarray(time_s, dtype=np.int64),
        )

    def rows(self, chosen: npt.NDArray[np.bool_] | Int64) -> "Ratings":
        """The chosen rows, under the same users and items."""
        return Ratings(
            self.users, self.items, self.user[chosen], self.item[chosen], self.value[chosen], self.time_s[chosen]
        )


def in_id_order(ids: Sequence[str]) -> list[str]:
    """Distinct ids, lowest first: by number if all are plain decimal numbers, else by code point.

    The order breaks ties between equal scores everywhere: the lower id comes first.
    """
    distinct = set(ids)
    if all(text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") for text in distinct):
        return sorted(distinct, key=lambda text: (len(text), text))
    return sorted(distinct)


def _placed(ids: Sequence[str]) -> tuple[list[str], Int32]:
    """The distinct ids in their order, and the place in it of each given one."""
    ordered = in_id_order(ids)
    place = {text: i for i, text in enumerate(ordered)}
    return ordered, np.fromiter((place[text] for text in ids), dtype=np.int32, count=len(ids))
