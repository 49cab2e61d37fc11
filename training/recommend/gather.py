"""What a recommender is trained on: uploads, the archive of feedback, and nothing of whoever was deleted.

ratings/<name>/<run>.parquet    uploads of runs that were promoted (training.recommend.uploads)
items/<anything>                titles and genres: CSV with item, title, genres, or MovieLens' movies.dat
feedback/<hub>/...              what the stream worker archived (training.recommend.archive)
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from models.errors import BadInput
from models.ports import BlobStore, StateStore
from models.recommend.profile import CONTAINER, TOMBSTONES, Tombstone
from models.recommend.ratings import Int64, Ratings
from training.recommend.archive import read_archive
from training.recommend.items import ItemInfo, parse_items_csv, parse_movies_dat
from training.recommend.splits import Bools
from training.recommend.uploads import kept

log = logging.getLogger(__name__)

ITEMS: Final = "items/"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Ratings of deleted users that are not trained on. `untimed` are those of them without a time: whether they are
    older than the deletion nobody knows, so they stay out for good.
    """

    users: int
    ratings: int
    untimed: int

    def __str__(self) -> str:
        untimed = f", {self.untimed} of them for want of a time" if self.untimed else ""
        return f"{self.ratings} ratings of {self.users} deleted users left out{untimed}"


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that is known, with at most one rating per (user, item): the latest."""

    ratings: Ratings
    items: Mapping[str, ItemInfo]
    forgotten: Mapping[str, int]
    """Users who were deleted, with the time (epoch microseconds) until which their ratings are left out."""
    feedback: Mapping[str, int]
    """Last offset of the archive that is in `ratings`, by partition."""
    left_out: LeftOut
    """Of the uploads."""


def gather(blobs: BlobStore, state: StateStore, hub: str, own: Mapping[str, Ratings]) -> Gathered:
    """What a run with uploads `own` (by name) and the feedback of `hub` is trained on, as it is stored now."""
    archive = read_archive(blobs, hub)
    marks = forgotten_users(state)
    forgotten = {
        user: max(marks.get(user, -1), archive.forgotten.get(user, -1)) for user in {*marks, *archive.forgotten}
    }
    # What the archive knows to be forgotten it has left out itself, to the microsecond.
    unknown = {user: until_us for user, until_us in marks.items() if until_us > archive.forgotten.get(user, -1)}
    # Feedback last: of equally old ratings it counts.
    uploads, left_out = without(combine(kept(blobs, own)), forgotten)
    ratings = combine([uploads, without(archive.ratings, unknown)[0]])
    return Gathered(ratings, described_items(blobs), forgotten, archive.through, left_out)


def without(ratings: Ratings, forgotten: Mapping[str, int]) -> tuple[Ratings, LeftOut]:
    """The ratings without those of users in `forgotten` until that time (epoch microseconds), and what is missing.

    Users and items without a rating are left out as well; nothing changes where nothing is missing.
    """
    until_us = np.array([forgotten.get(user, -1) for user in ratings.users], dtype=np.int64)
    covered: Bools = ratings.time_s * 1_000_000 <= until_us[ratings.user]
    left_out = LeftOut(
        users=len(np.unique(ratings.user[covered])),
        ratings=int(covered.sum()),
        untimed=int((covered & (ratings.time_s == 0)).sum()),
    )
    return (combine([ratings.rows(~covered)]) if left_out.ratings else ratings), left_out


def combine(parts: Sequence[Ratings]) -> Ratings:
    """One rating per (user, item): the latest, of equally old ones that of the later part.

    Users and items without a rating are left out.
    """
    if not parts:
        return Ratings.of([], [], [])
    users, user = _joined([part.users for part in parts], [part.user for part in parts])
    items, item = _joined([part.items for part in parts], [part.item for part in parts])
    value = np.concatenate([part.value for part in parts])
    time_s = np.concatenate([part.time_s for part in parts])
    # Stable: of equal (pair, time) the one of the later part stays last.
    order = np.lexsort((time_s, item, user))
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (user[order][1:] != user[order][:-1]) | (item[order][1:] != item[order][:-1])
    chosen = np.sort(order[last])
    users, user = _used(users, user[chosen])
    items, item = _used(items, item[chosen])
    return Ratings.of_codes(users, user.astype(np.int32), items, item.astype(np.int32), value[chosen], time_s[chosen])


def forgotten_users(state: StateStore) -> dict[str, int]:
    """Users who were deleted, and until when (epoch microseconds) their ratings are left out."""
    found = (
        msgspec.json.decode(document.body, type=Tombstone)
        for document in state.query(CONTAINER, partition=TOMBSTONES)
    )
    return {tombstone.user: tombstone.time_us for tombstone in found}


def described_items(blobs: BlobStore) -> dict[str, ItemInfo]:
    """Titles and genres by item; of several files that describe one the last in name order counts.

    A file that does not describe items is passed over with a log line: titles must not stop training.
    """
    found: dict[str, ItemInfo] = {}
    for info in blobs.list(ITEMS):
        text = blobs.get(info.name).data.decode("utf-8", "replace")
        parse = parse_movies_dat if info.name.endswith(".dat") else parse_items_csv
        try:
            found |= parse(text, info.name)
        except BadInput as error:
            log.warning("items are passed over: %s", error)
    return found


def _joined(ids: Sequence[Sequence[str]], codes: Sequence[np.ndarray]) -> tuple[list[str], Int64]:
    """All ids once, and the codes of all parts, one after the other, in terms of them."""
    place: dict[str, int] = {}
    parts = []
    for texts, code in zip(ids, codes, strict=True):
        own = np.fromiter((place.setdefault(text, len(place)) for text in texts), np.int64, len(texts))
        parts.append(own[code])
    return list(place), np.concatenate(parts)


def _used(ids: list[str], codes: Int64) -> tuple[list[str], Int64]:
    places, again = np.unique(codes, return_inverse=True)
    return [ids[place] for place in places], again
