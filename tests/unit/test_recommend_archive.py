"""The feedback archive as training reads it."""

import random

import pytest

from models.contracts import FeedbackEvent, ForgetEvent
from models.contracts.feedback import RatingsEvent
from models.errors import BadInput
from models.names import feedback_blob
from models.recommend.feedback import Feedback, encode_feedback
from models.recommend.history import apply_events
from models.recommend.profile import CONTAINER, PROFILE_ID, decode_profile, user_partition
from tests.fakes import FakeBlobs, FakeState
from training.recommend.archive import Archive, read_archive

HUB = "ratings"


def rated(user: str, item: str, rating: float = 4.0, time_us: int = 10_000_000, key: str = "") -> FeedbackEvent:
    return FeedbackEvent(user=user, item=item, rating=rating, time_us=time_us, key=key or f"{item}@{time_us}")


def archive(*segments: list[RatingsEvent], partition: int = 0, blobs: FakeBlobs | None = None) -> FakeBlobs:
    blobs, first = blobs or FakeBlobs(), 0
    for events in segments:
        numbered = [(first + n, event) for n, event in enumerate(events)]
        name, data = feedback_blob(HUB, partition, first), encode_feedback(Feedback.of(numbered))
        first += len(events)
        blobs.create(name, data, metadata={"through": str(first - 1)})
    return blobs


def rows(found: Archive) -> set[tuple[str, str, float, int]]:
    r = found.ratings
    return {
        (r.users[user], r.items[item], value, time_s)
        for user, item, value, time_s in zip(
            r.user.tolist(), r.item.tolist(), r.value.tolist(), r.time_s.tolist(), strict=True
        )
    }


def test_all_segments_of_all_partitions_are_read_and_how_far_is_told() -> None:
    blobs = archive([rated("u", "a")], [rated("u", "b")])
    found = read_archive(archive([rated("v", "a")], partition=3, blobs=blobs), HUB)
    assert rows(found) == {("u", "a", 4.0, 10), ("u", "b", 4.0, 10), ("v", "a", 4.0, 10)}
    assert found.through == {"0": 1, "3": 0}


def test_an_empty_archive_holds_nothing() -> None:
    found = read_archive(FakeBlobs(), HUB)
    assert (len(found.ratings), found.forgotten, found.through) == (0, {}, {})


def test_of_several_ratings_of_an_item_the_last_by_time_and_key_counts_wherever_it_stands() -> None:
    newest = rated("u", "a", 5.0, 30_000_000, "b")
    found = read_archive(archive([newest, rated("u", "a", 1.0, 30_000_000, "a"), rated("u", "a", 2.0)]), HUB)
    assert rows(found) == {("u", "a", 5.0, 30)}


def test_a_rating_sent_again_under_its_key_is_the_same_rating() -> None:
    again = [rated("u", "a", 5.0, 20_000_000, "k"), rated("u", "a", 5.0, 30_000_000, "k")]
    assert rows(read_archive(archive(again), HUB)) == {("u", "a", 5.0, 20)}


def test_an_offset_that_stands_in_two_segments_counts_once() -> None:
    blobs = archive([rated("u", "a", key="1")], [rated("u", "b", key="2")])
    both = [(0, rated("u", "a", key="1")), (1, rated("u", "b", key="2")), (2, rated("u", "c", key="3"))]
    blobs.replace(feedback_blob(HUB, 0, 0), encode_feedback(Feedback.of(both)), metadata={"through": "2"})
    found = read_archive(blobs, HUB)
    assert (len(found.ratings), found.through) == (3, {"0": 2})


def test_who_was_forgotten_is_left_out_up_to_that_time_and_named() -> None:
    events = [rated("u", "a"), ForgetEvent(user="u", time_us=15_000_000), rated("u", "b"), rated("v", "a")]
    found = read_archive(archive([*events, rated("u", "c", time_us=16_000_000)]), HUB)
    assert rows(found) == {("u", "c", 4.0, 16), ("v", "a", 4.0, 10)}
    assert found.forgotten == {"u": 15_000_000}


def test_a_damaged_segment_is_bad_input() -> None:
    blobs = archive([rated("u", "a")])
    blobs.replace(feedback_blob(HUB, 0, 0), b"PAR1 rubbish", metadata={"through": "0"})
    with pytest.raises(BadInput):
        read_archive(blobs, HUB)


@pytest.mark.parametrize("seed", range(10))
def test_the_archive_says_of_each_user_what_the_profile_says(seed: int) -> None:
    dice, state = random.Random(seed), FakeState()
    events: list[RatingsEvent] = []
    for n in range(60):
        user, time_us = f"u{dice.randrange(3)}", dice.randrange(40) * 1_000_000
        item = f"i{dice.randrange(6)}"
        event = rated(user, item, 1.0 + n % 5, time_us, f"{n}")
        events.append(ForgetEvent(user=user, time_us=time_us) if dice.random() < 0.05 else event)
        events += [events[-1]] * (dice.random() < 0.2)
        apply_events(state, user, [events[-1]])
    found = rows(read_archive(archive(events[:25], events[25:]), HUB))
    for user in ("u0", "u1", "u2"):
        document = state.get(CONTAINER, user_partition(user), PROFILE_ID)
        profile = decode_profile(document.body).ratings if document else {}
        assert {(i, r, t) for u, i, r, t in found if u == user} == {
            (item, each.rating, each.time_us // 1_000_000) for item, each in profile.items()
        }
