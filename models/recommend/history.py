"""Events applied to what the state store keeps of a user, whoever does it: the HTTP functions or the stream worker.

Safe to repeat, in any order and by many at once: a profile follows from the events, not from how often they come. Of
several ratings of an item the one with the largest (time_us, key) counts; a wish to be forgotten leaves a tombstone
and takes the ratings up to its time, also those that come after it.
"""

from collections.abc import Sequence

import msgspec

from models.contracts.feedback import FeedbackEvent, ForgetEvent, RatingsEvent
from models.errors import Superseded
from models.names import escaped
from models.ports import Document, Put, Remove, StateStore
from models.recommend.profile import (
    CONTAINER,
    PROFILE_ID,
    TOMBSTONES,
    Profile,
    Rated,
    Tombstone,
    decode_profile,
    encode_profile,
    user_partition,
    with_rating,
)


def apply_events(state: StateStore, user: str, events: Sequence[RatingsEvent]) -> bool:
    """Make the user's profile what it is after these events of theirs, by compare-and-set; false if it was that.

    Raises BadInput if the stored profile cannot be read, or would be larger than the store takes.
    """
    forgets = [event.time_us for event in events if isinstance(event, ForgetEvent)]
    forgotten_us = _forget(state, user, max(forgets)) if forgets else forgotten_until(state, user)
    while True:
        document = state.get(CONTAINER, user_partition(user), PROFILE_ID)
        before = decode_profile(document.body) if document else Profile()
        after = _without(before, forgotten_us)
        for event in events:
            if isinstance(event, FeedbackEvent) and event.time_us > forgotten_us:
                after = with_rating(after, event.item, Rated(event.rating, event.time_us, event.key))
        if after is before:
            return False
        try:
            state.transact(CONTAINER, user_partition(user), [_write(document, after)])
            return True
        except Superseded:
            continue


def forgotten_until(state: StateStore, user: str) -> int:
    """Ratings of the user at this time (epoch microseconds) or before are not to be used; -1 if all may be."""
    return _tombstone(state, user)[0]


def _tombstone(state: StateStore, user: str) -> tuple[int, str]:
    """Time and etag of the user's tombstone; -1 and "" if there is none."""
    document = state.get(CONTAINER, TOMBSTONES, escaped(user))
    return (msgspec.json.decode(document.body, type=Tombstone).time_us, document.etag) if document else (-1, "")


def _forget(state: StateStore, user: str, time_us: int) -> int:
    """The time of the user's tombstone, which is made or moved on to `time_us` first."""
    while True:
        found_us, etag = _tombstone(state, user)
        if time_us <= found_us:
            return found_us
        body = msgspec.json.encode(Tombstone(user=user, time_us=time_us))
        try:
            state.transact(CONTAINER, TOMBSTONES, [Put(escaped(user), body, etag)])
            return time_us
        except Superseded:
            continue


def _without(profile: Profile, forgotten_us: int) -> Profile:
    """The profile without ratings at `forgotten_us` or before; the same object if it has none."""
    kept = {item: rated for item, rated in profile.ratings.items() if rated.time_us > forgotten_us}
    if len(kept) == len(profile.ratings):
        return profile
    return msgspec.structs.replace(profile, ratings=kept, factors={}, replaced=[], spent={})


def _write(document: Document | None, profile: Profile) -> Put | Remove:
    if document is not None and not profile.ratings:
        return Remove(PROFILE_ID, document.etag)
    return Put(PROFILE_ID, encode_profile(profile), document.etag if document else "")
