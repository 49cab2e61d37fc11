"""The archive of the hub of ratings as training reads it: each event once, and nothing of whoever was forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from models.names import feedback_prefix
from models.ports import BlobStore
from models.recommend.feedback import Feedback, decode_feedback
from models.recommend.ratings import Int64, Ratings


@dataclass(frozen=True, slots=True)
class Archive:
    """What users rated, at most one rating per (user, item): the last by (time_us, key)."""

    ratings: Ratings
    """Without those that a wish of their user to be forgotten covers."""
    forgotten: Mapping[str, int]
    """Until when (epoch microseconds) ratings of a user are to be left out, wherever they come from."""
    through: Mapping[str, int]
    """Last offset that is in it, by partition."""


def read_archive(blobs: BlobStore, hub: str) -> Archive:
    """The archive of `hub` as it stands now, whole segments only. Raises BadInput for a damaged segment."""
    parts: list[Feedback] = []
    through: dict[str, int] = {}
    for info in blobs.list(feedback_prefix(hub)):
        partition = PurePosixPath(info.name).parent.name
        before = through.get(partition, -1)
        segment = decode_feedback(blobs.get(info.name).data)
        # Two lives that both filled a hole may have written an offset twice.
        parts.append(_rows(segment, np.flatnonzero(segment.offset > before)))
        through[partition] = max(before, int(info.metadata["through"]))
    forgotten = _forgotten(parts)
    return Archive(_last(_joined(parts), forgotten), forgotten, through)


def _forgotten(parts: list[Feedback]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in parts:
        for i in np.flatnonzero(part.forget).tolist():
            found[part.user[i]] = max(found.get(part.user[i], -1), int(part.time_us[i]))
    return found


def _last(events: Feedback, forgotten: Mapping[str, int]) -> Ratings:
    """The rating that counts of each (user, item), in the order of `events`."""
    known: set[tuple[str, str]] = set()
    last: dict[tuple[str, str], int] = {}
    time_us = events.time_us.tolist()
    for i in np.flatnonzero(~events.forget).tolist():
        user, key = events.user[i], events.key[i]
        # Sent again under its key it is the same rating: the first in the log counts, as in the user's profile.
        if time_us[i] <= forgotten.get(user, -1) or (user, key) in known:
            continue
        known.add((user, key))
        pair = user, events.item[i]
        before = last.get(pair)
        if before is None or (time_us[i], key) > (time_us[before], events.key[before]):
            last[pair] = i
    chosen = _rows(events, np.array(sorted(last.values()), dtype=np.int64))
    return Ratings.of(chosen.user, chosen.item, chosen.rating, chosen.time_us // 1_000_000)


def _rows(feedback: Feedback, rows: Int64) -> Feedback:
    places = rows.tolist()
    return Feedback(
        user=[feedback.user[i] for i in places],
        item=[feedback.item[i] for i in places],
        rating=feedback.rating[rows],
        time_us=feedback.time_us[rows],
        key=[feedback.key[i] for i in places],
        forget=feedback.forget[rows],
        offset=feedback.offset[rows],
    )


def _joined(parts: list[Feedback]) -> Feedback:
    nothing = Feedback.of([])
    return Feedback(
        user=[user for part in parts for user in part.user],
        item=[item for part in parts for item in part.item],
        rating=np.concatenate([nothing.rating, *(part.rating for part in parts)]),
        time_us=np.concatenate([nothing.time_us, *(part.time_us for part in parts)]),
        key=[key for part in parts for key in part.key],
        forget=np.concatenate([nothing.forget, *(part.forget for part in parts)]),
        offset=np.concatenate([nothing.offset, *(part.offset for part in parts)]),
    )
