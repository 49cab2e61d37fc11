"""Bulk write of histories and user vectors into the state store, beside feedback that goes on.

Before a promotion readers find longer histories, and vectors of a version that is not live, which they do not use;
after it they find vectors of the live version. So every answer is right at every moment, and nothing that was rated
in training is recommended by the version that was trained on it.

Each profile is changed by compare-and-set, so feedback that comes in between stays. Writing again what is there
already writes nothing, so an interrupted write is taken up again by doing it again.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from models.errors import BadInput, Superseded
from models.inference.foldin import FoldIn
from models.ports import Document, Put, Remove, StateStore
from models.recommend.history import apply_events
from models.recommend.profile import (
    CONTAINER,
    PROFILE_ID,
    Profile,
    Rated,
    decode_profile,
    digest_of,
    encode_profile,
    newest,
    stored_factor,
    user_partition,
)
from models.recommend.ratings import Int64, Ratings
from training.recommend.gather import forgotten_users
from training.recommend.grouping import grouped

log = logging.getLogger(__name__)

BATCH: Final = 200
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Makes the vectors of one registered version."""

    model: str
    version: str
    fold: FoldIn
    place_of: Mapping[str, int]
    """Places of the version's items."""

    def added(self, profile: Profile) -> Profile:
        """The profile with this version's vector of its ratings; without one where the version knows none of them."""
        digest = digest_of(profile)
        stored = profile.factors.get(self.model)
        if stored is not None and (stored.version, stored.ratings_digest) == (self.version, digest):
            return profile
        rated_items = profile.ratings.items()
        known = [(self.place_of[item], rated.rating) for item, rated in rated_items if item in self.place_of]
        factors = {model: factor for model, factor in profile.factors.items() if model != self.model}
        if known:
            places, ratings = zip(*known, strict=True)
            vector = self.fold.user(np.array(places, dtype=np.int64), np.array(ratings, dtype=np.float32))
            factors[self.model] = stored_factor(self.version, digest, vector)
        return msgspec.structs.replace(profile, factors=factors)


@dataclass(frozen=True, slots=True)
class Written:
    """Users that were looked at, and of how many the profile changed."""

    users: int
    changed: int


def write_users(
    state: StateStore,
    ratings: Ratings,
    vectors: Vectors,
    *,
    threads: int = 8,
    progress: Progress = lambda _done, _total: None,
) -> Written:
    """Add `ratings` to the profiles of their users, and to each of those profiles a vector of `vectors`.

    Users are taken in id order, in batches of 200, which `threads` read side by side and which are written at once.
    After each `progress` is called with the numbers of users done and of all. A user who is deleted meanwhile stays
    deleted.
    """
    by_user = grouped(ratings.user, len(ratings.users))
    total = len(ratings.users)
    forgotten = forgotten_users(state)
    changed = 0

    def prepare(user: int) -> _Change | None:
        incoming = _incoming(ratings, by_user.rows(user))
        until_us = forgotten.get(ratings.users[user], -1)
        return _prepared(state, ratings.users[user], _added(incoming, until_us, vectors))

    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, total, BATCH):
            users = range(begin, min(begin + BATCH, total))
            changed += _write(state, [change for change in pool.map(prepare, users) if change is not None])
            forgotten = _forget_again(state, [ratings.users[user] for user in users], forgotten)
            progress(users[-1] + 1, total)
    return Written(total, changed)


def take_back(state: StateStore, taken: Ratings, rest: Ratings, *, threads: int = 8) -> int:
    """Take ratings that were `taken` out of later training out of profiles; the number of profiles that changed.

    Only a rating that is just as it was written goes; that of the same pair in `rest`, all that is still trained on,
    comes in its place. Safe to repeat.
    """
    by_user, by_user_of_rest = grouped(taken.user, len(taken.users)), grouped(rest.user, len(rest.users))
    place_in_rest = {user: place for place, user in enumerate(rest.users)}

    def one(user: int) -> bool:
        gone = _incoming(taken, by_user.rows(user))
        place = place_in_rest.get(taken.users[user])
        stays = {} if place is None else _incoming(rest, by_user_of_rest.rows(place))

        def change(profile: Profile) -> Profile:
            ratings = dict(profile.ratings)
            for item in [item for item, rated in gone.items() if ratings.get(item) == rated]:
                del ratings[item]
                if item in stays:
                    ratings[item] = stays[item]
            return msgspec.structs.replace(profile, ratings=ratings)

        return _change(state, taken.users[user], change)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(one, range(len(taken.users))))


def merged(profile: Profile, incoming: Mapping[str, Rated]) -> Profile:
    """The profile with the incoming ratings that are not older than its own; the same object if none is news."""
    ratings, longer = dict(profile.ratings), profile
    for item, rated in incoming.items():
        before = ratings.get(item)
        if before is not None:
            if (rated.time_us, rated.key) < (before.time_us, before.key):
                continue
            longer = longer.replacing(item, before)
        ratings[item] = rated
    kept = newest(ratings)
    if kept == profile.ratings:
        return profile
    return msgspec.structs.replace(longer, ratings=kept)


def _incoming(ratings: Ratings, rows: Int64) -> dict[str, Rated]:
    return {
        ratings.items[ratings.item[row]]: Rated(float(ratings.value[row]), int(ratings.time_s[row]) * 1_000_000)
        for row in rows.tolist()
    }


@dataclass(frozen=True, slots=True)
class _Change:
    """What is to be written for a user, and how to find that out anew."""

    user: str
    write: Put | Remove
    again: Callable[[Profile], Profile]


def _added(incoming: Mapping[str, Rated], until_us: int, vectors: Vectors) -> Callable[[Profile], Profile]:
    """What makes a profile longer by the incoming ratings after `until_us`, and gives it a vector."""
    wanted = {item: rated for item, rated in incoming.items() if rated.time_us > until_us}

    def change(profile: Profile) -> Profile:
        return vectors.added(merged(profile, wanted))

    return change


def _write(state: StateStore, changes: Sequence[_Change]) -> int:
    """How many profiles changed. One that changed under our hands is read and changed anew."""
    held = state.transact_many(CONTAINER, [(user_partition(each.user), [each.write]) for each in changes])
    left = [change for change, done in zip(changes, held, strict=True) if not done]
    return sum(held) + sum(_change(state, each.user, each.again) for each in left)


def _forget_again(state: StateStore, users: Sequence[str], before: Mapping[str, int]) -> dict[str, int]:
    """Take back what was written to users of the batch who were deleted meanwhile; who is deleted by now.

    A deletion leaves its mark first and removes the profile then: either the mark is seen here, or the profile that
    we made is removed by the deletion.
    """
    now = forgotten_users(state)
    for user in users:
        if user in now and now[user] != before.get(user):
            apply_events(state, user, [])  # takes away what the mark covers
    return now


def _change(state: StateStore, user: str, change: Callable[[Profile], Profile]) -> bool:
    """Whether the profile of `user` is another one after `change`; one without ratings is removed."""
    while True:
        prepared = _prepared(state, user, change)
        if prepared is None:
            return False
        try:
            state.transact(CONTAINER, user_partition(user), [prepared.write])
        except Superseded:
            continue
        return True


def _prepared(state: StateStore, user: str, change: Callable[[Profile], Profile]) -> _Change | None:
    """What `change` makes of the profile of `user` as it is now, to be written over that version; None: nothing."""
    document = state.get(CONTAINER, user_partition(user), PROFILE_ID)
    try:
        before = decode_profile(document.body) if document else Profile()
    except BadInput as error:
        log.error("profile of user %r is left as it is: %s", user, error)
        return None
    after = change(before)
    return None if after == before else _Change(user, _put(document, after), change)


def _put(document: Document | None, profile: Profile) -> Put | Remove:
    if document is not None and not profile.ratings:
        return Remove(PROFILE_ID, etag=document.etag)
    return Put(PROFILE_ID, encode_profile(profile), etag=document.etag if document else "")
