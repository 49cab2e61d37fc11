"""Rows by the group that they are in, and a few of many."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.recommend.ratings import Int64


class Grouped(NamedTuple):
    """The rows of group g, in the order of rows, are `order[start[g] : start[g + 1]]`."""

    order: Int64
    start: Int64

    def rows(self, group: int) -> Int64:
        """Those of one group."""
        return self.order[self.start[group] : self.start[group + 1]]


def grouped(group: npt.NDArray[np.integer], count: int) -> Grouped:
    """N rows whose groups, 0..count - 1, are `group`: int, (n,)."""
    start = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=count))])
    return Grouped(np.argsort(group, kind="stable"), start)


def ranks(group: npt.NDArray[np.integer], keys: Sequence[npt.NDArray[Any]]) -> Int64:
    """The place of each row within its group, in the order of `keys` (the first counts most), then of rows: (n,)."""
    order = np.lexsort([*reversed(keys), group])
    counts = np.bincount(group)
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank


def evenly(rows: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """At most so many of the rows, evenly chosen, the first and the last among them; all where there are no more."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
