"""What a recommender is trained on: the uploads that were accepted, and the archive of feedback.

ratings/<name>/<run>.parquet    an accepted upload, create-only; of one name the latest counts
items/<anything>                titles and genres: CSV with item, title, genres, or MovieLens' movies.dat
feedback/<hub>/...              what the stream worker archived (training.recommend.archive)
"""

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import msgspec
import numpy as np

from models.errors import AlreadyExists, BadInput
from models.ports import Blob, BlobStore, StateStore
from models.recommend.profile import CONTAINER, TOMBSTONES, Tombstone
from models.recommend.ratings import Int64, Ratings
from training.recommend.archive import read_archive
from training.recommend.checks import check_histories, check_ratings
from training.recommend.items import ItemInfo, parse_items_csv, parse_movies_dat
from training.recommend.readers import RatingColumns, read_ratings

log = logging.getLogger(__name__)

ACCEPTED: Final = "ratings/"
ITEMS: Final = "items/"
COLUMNS: Final = "columns"
"""Metadata of an upload: columns of a CSV or Parquet file, `user=...,item=...,rating=...,ts=...`, percent-encoded."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that is known, with at most one rating per (user, item): the latest."""

    ratings: Ratings
    items: Mapping[str, ItemInfo]
    forgotten: Mapping[str, int]
    """Users who were deleted, with the time (epoch microseconds) until which their ratings are left out."""
    feedback: Mapping[str, int]
    """Last offset of the archive that is in `ratings`, by partition."""


def gather(blobs: BlobStore, state: StateStore, hub: str) -> Gathered:
    """What a model of the feedback of `hub` is trained on, as it is stored now."""
    archive = read_archive(blobs, hub)
    marks = forgotten_users(state)
    forgotten = {
        user: max(marks.get(user, -1), archive.forgotten.get(user, -1)) for user in {*marks, *archive.forgotten}
    }
    # What the archive knows to be forgotten it has left out itself, to the microsecond.
    unknown = {user: until_us for user, until_us in marks.items() if until_us > archive.forgotten.get(user, -1)}
    # Feedback last: of equally old ratings it counts.
    ratings = combine([combine(accepted(blobs), forgotten), combine([archive.ratings], unknown)])
    return Gathered(ratings, described_items(blobs), forgotten, archive.through)


def accept(blobs: BlobStore, upload: Blob, run: str, now_s: float) -> Ratings:
    """The ratings of an upload, once they are stored under `ratings/`. Accepting it again is harmless.

    Raises BadInput for what is not ratings, repeats a (user, item) pair, lies outside the scale of the API, or is
    from the future of `now_s` (epoch seconds).
    """
    name = upload.info.name.partition("/")[2]
    called = name.rpartition("/")[2]
    named = unquote(upload.info.metadata.get(COLUMNS, ""))
    ratings = read_ratings(upload.data, name=called, columns=RatingColumns.parse(named) if named else None)
    check_ratings(ratings, called)
    keep(blobs, name, ratings, run, now_s)
    return ratings


def keep(blobs: BlobStore, name: str, ratings: Ratings, run: str, now_s: float) -> None:
    """Store ratings so that every later training takes them in, in place of those kept under `name` before.

    Doing it again is harmless. Raises BadInput if one lies outside the scale of the API or in the future.
    """
    check_histories(ratings, name, now_s)
    try:
        blobs.create(_kept(name, run), encode_ratings(ratings))
    except AlreadyExists:
        log.info("ratings %s were kept before", name)


def accepted_blob(upload: str, run: str) -> str:
    """Where the ratings of blob `upload` are kept once run `run` has accepted them."""
    return _kept(upload.partition("/")[2], run)


def _kept(name: str, run: str) -> str:
    return f"{ACCEPTED}{name}/{run}.parquet"


def accepted(blobs: BlobStore) -> list[Ratings]:
    """The accepted uploads, the oldest first; of one name only the latest."""
    latest: dict[str, str] = {}
    for info in blobs.list(ACCEPTED):
        folder, _, _ = info.name.rpartition("/")
        latest[folder] = info.name  # runs are in order of time within a folder
    in_time = sorted(latest.values(), key=lambda name: name.rpartition("/")[2])
    return [read_ratings(blobs.get(name).data, name=name) for name in in_time]


def combine(parts: Sequence[Ratings], forgotten: Mapping[str, int] | None = None) -> Ratings:
    """One rating per (user, item): the latest, of equally old ones that of the later part.

    Ratings of a user in `forgotten` until that time (epoch microseconds) are left out. Users and items without a
    rating are left out as well.
    """
    if not parts:
        return Ratings.of([], [], [])
    users, user = _joined([part.users for part in parts], [part.user for part in parts])
    items, item = _joined([part.items for part in parts], [part.item for part in parts])
    value = np.concatenate([part.value for part in parts])
    time_s = np.concatenate([part.time_s for part in parts])
    until_us = np.array([(forgotten or {}).get(text, -1) for text in users], dtype=np.int64)
    keep = np.ones(len(value), dtype=bool) if not len(users) else time_s * 1_000_000 > until_us[user]
    rows = np.flatnonzero(keep)
    # Stable: of equal (pair, time) the one of the later part stays last.
    order = rows[np.lexsort((time_s[rows], item[rows], user[rows]))]
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


def encode_ratings(ratings: Ratings) -> bytes:
    """Parquet bytes with columns user, item, rating and ts (epoch seconds), as `read_ratings` reads them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "user": pa.DictionaryArray.from_arrays(pa.array(ratings.user), pa.array(ratings.users, pa.string())),
            "item": pa.DictionaryArray.from_arrays(pa.array(ratings.item), pa.array(ratings.items, pa.string())),
            "rating": ratings.value,
            "ts": ratings.time_s,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


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
