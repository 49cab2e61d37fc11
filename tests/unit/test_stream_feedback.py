"""A partition of the hub of ratings on in-memory stores: whatever dies or is lost, each event counts once."""

import random
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from infra.feed.ratings import set_aside_ratings
from models import names
from models.contracts import DeadLetter, FeedbackEvent, ForgetEvent, Reason
from models.contracts.feedback import RatingsEvent
from models.errors import TryLater
from models.ports import Put
from models.recommend.feedback import decode_feedback
from models.recommend.profile import CONTAINER, PROFILE_ID, decode_profile, user_partition
from stream.decode import Chunk, Unreadable
from stream.feedback import RatingsPartition
from stream.steps import StorageRewound
from tests.fakes import FakeBlobs, FakeState
from tests.unit.test_stream_partition import UnreliableBlobs

HUB = "ratings"


def rated(user: str, item: str, time_us: int = 10, rating: float = 4.0) -> FeedbackEvent:
    return FeedbackEvent(user=user, item=item, rating=rating, time_us=time_us, key=f"{item}@{time_us}")


def chunk(events: list[RatingsEvent | bytes | Unreadable | None], start: int = 0) -> Chunk:
    """Events from offset `start` on."""
    bodies = [msgspec.json.encode(e) if isinstance(e, FeedbackEvent | ForgetEvent) else e for e in events]
    return Chunk(np.arange(start, start + len(bodies)), np.zeros(len(bodies), dtype=np.int64), bodies)


@dataclass
class Stores:
    blobs: FakeBlobs = field(default_factory=FakeBlobs)
    state: FakeState = field(default_factory=FakeState)

    def partition(self) -> RatingsPartition:
        made = RatingsPartition(HUB, 0, self.blobs, self.state, interval_s=5.0, max_ahead_s=300.0)
        made.restore()
        return made

    def profile(self, user: str) -> dict[str, float]:
        document = self.state.get(CONTAINER, user_partition(user), PROFILE_ID)
        found = decode_profile(document.body).ratings if document else {}
        return {item: each.rating for item, each in found.items()}

    def segments(self) -> list[tuple[int, int]]:
        return [
            (int(info.name[-28:-8]), int(info.metadata["through"]))
            for info in self.blobs.list(names.feedback_prefix(HUB))
        ]

    def archived(self) -> list[tuple[int, str, str, bool]]:
        rows = []
        for info in self.blobs.list(names.feedback_prefix(HUB)):
            f = decode_feedback(self.blobs.get(info.name).data)
            rows += list(zip(f.offset.tolist(), f.user, f.item, f.forget.tolist(), strict=True))
        return rows


@pytest.fixture
def stores() -> Stores:
    return Stores()


def test_events_are_applied_before_they_are_archived_and_a_new_life_goes_on_behind_them(stores: Stores) -> None:
    part = stores.partition()
    part.process(chunk([rated("u", "a"), ForgetEvent(user="v", time_us=5)]))
    assert part.hand_over_due()
    part.hand_over()
    assert (stores.profile("u"), stores.archived()) == ({"a": 4.0}, [])
    part.checkpoint()
    assert stores.archived() == [(0, "u", "a", False), (1, "v", "", True)]
    assert stores.partition().next_offset == 2


def test_a_life_that_died_between_state_and_archive_is_repeated_without_effect(stores: Stores) -> None:
    events = [rated("u", "a"), rated("u", "b")]
    first = stores.partition()
    first.process(chunk(events))
    first.hand_over()
    etags = {key: document.etag for key, document in stores.state.documents.items()}
    second = stores.partition()
    assert second.next_offset == 0
    second.process(chunk(events))
    second.checkpoint()
    assert {key: document.etag for key, document in stores.state.documents.items()} == etags
    assert [row[0] for row in stores.archived()] == [0, 1]


def test_a_rivals_segment_is_adopted_and_what_lies_behind_it_is_written_once(stores: Stores) -> None:
    events = [rated("u", str(n)) for n in range(6)]
    slow, fast = stores.partition(), stores.partition()
    slow.process(chunk(events[:3]))
    fast.process(chunk(events[:5]))
    fast.checkpoint()
    slow.checkpoint()
    slow.process(chunk(events[3:], start=3))
    slow.checkpoint()
    assert stores.segments() == [(0, 4), (5, 5)]
    assert [row[0] for row in stores.archived()] == list(range(6))
    assert slow.status()["ratings"] == 6


def test_what_is_no_event_is_set_aside_with_its_place_and_reason_and_the_rest_counts(stores: Stores) -> None:
    bad = [b"", b"{", b"[" * 100_000, b'{"kind": "like"}', b"\xff", None, Unreadable("torn")]
    beyond = msgspec.json.encode(rated("u", "a")).replace(b"4.0", b"9.0")
    part = stores.partition()
    part.process(chunk([*bad, beyond, rated("u", "b")]))
    part.checkpoint()
    assert stores.profile("u") == {"b": 4.0}
    data = stores.blobs.get(names.dead_letter_blob(HUB, 0, 0, 8)).data
    letters = [msgspec.json.decode(line, type=DeadLetter) for line in data.splitlines()]
    assert [letter.offset for letter in letters] == list(range(8))
    assert {letter.reason for letter in letters} == {Reason.MALFORMED}
    assert "5" in letters[-1].detail
    status = part.status()
    assert (status["events"], status["ratings"], status["dead_lettered"]) == (9, 1, 8)
    assert stores.partition().status() == status


def test_an_event_from_the_future_is_set_aside_and_touches_no_profile(stores: Stores) -> None:
    limit_us = 300_000_000
    part = stores.partition()
    events = [
        rated("u", "a", limit_us),
        rated("u", "a", limit_us + 1, 1.0),
        ForgetEvent(user="u", time_us=limit_us * 9),
    ]
    part.process(chunk([*events]))
    part.checkpoint()
    assert stores.profile("u") == {"a": 4.0}
    assert stores.archived() == [(0, "u", "a", False)]
    data = stores.blobs.get(names.dead_letter_blob(HUB, 0, 0, 2)).data
    letters = [msgspec.json.decode(line, type=DeadLetter) for line in data.splitlines()]
    assert [(each.offset, each.reason) for each in letters] == [
        (1, Reason.AHEAD_OF_CLOCK),
        (2, Reason.AHEAD_OF_CLOCK),
    ]
    assert "at most 300 s" in letters[0].detail
    assert "got 2700 s" in letters[1].detail


def test_what_was_set_aside_is_listed_latest_first_and_only_that_of_whole_segments(stores: Stores) -> None:
    part = stores.partition()
    for n in range(2):
        part.process(chunk([b"%d" % n], start=n))
        part.checkpoint()
    stores.blobs.create(names.dead_letter_blob(HUB, 0, 2, 9), b"an attempt that died")
    listed = list(set_aside_ratings(stores.blobs, HUB))
    assert [(each.partition, each.offset, each.body) for each in listed] == [(0, 1, "1"), (0, 0, "0")]


def test_a_segment_that_storage_forgot_is_noticed_and_written_again(stores: Stores) -> None:
    events = [rated("u", str(n)) for n in range(4)]
    part = stores.partition()
    for n in range(2):
        part.process(chunk(events[n : n + 1], start=n))
        part.checkpoint()
    stores.blobs.delete(names.feedback_blob(HUB, 0, 1))
    assert part.unsettled
    with pytest.raises(StorageRewound):
        part.verify()
    part.process(chunk(events[2:3], start=2))
    with pytest.raises(StorageRewound):
        part.checkpoint()
    assert part.restore() == 1
    part.process(chunk(events[1:], start=1))
    part.checkpoint()
    assert [row[0] for row in stores.archived()] == [0, 1, 2, 3]


def test_a_hole_in_the_archive_is_filled_without_touching_what_lies_behind_it(stores: Stores) -> None:
    events = [rated("u", str(n)) for n in range(5)]
    part = stores.partition()
    for n in range(4):
        part.process(chunk(events[n : n + 1], start=n))
        part.checkpoint()
    stores.blobs.delete(names.feedback_blob(HUB, 0, 1))
    later = stores.partition()
    assert later.next_offset == 1
    later.process(chunk(events[1:], start=1))
    later.checkpoint()
    assert stores.segments() == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]


def test_an_unreadable_profile_holds_up_neither_other_users_nor_the_archive(stores: Stores) -> None:
    stores.state.transact(CONTAINER, user_partition("u"), [Put(PROFILE_ID, b"{")])
    part = stores.partition()
    part.process(chunk([rated("u", "a"), rated("v", "a")]))
    part.checkpoint()
    assert stores.profile("v") == {"a": 4.0}
    assert [row[1] for row in stores.archived()] == ["u", "v"]


def test_a_quiet_partition_archives_sooner_and_one_without_events_never(stores: Stores, monkeypatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    part = stores.partition()
    assert not part.checkpoint_due(resting=True)
    part.process(chunk([rated("u", "a")]))
    now += 1.5
    assert part.checkpoint_due(resting=True)
    assert not part.checkpoint_due()
    now += 4
    assert part.checkpoint_due()


@pytest.mark.parametrize("seed", range(30))
def test_lives_that_die_anywhere_on_stores_that_fail_leave_each_event_once(seed: int) -> None:
    dice = random.Random(seed)
    events = [
        ForgetEvent(user=f"u{dice.randrange(4)}", time_us=n)
        if dice.random() < 0.1
        else rated(f"u{dice.randrange(4)}", f"i{dice.randrange(6)}", time_us=dice.randrange(60), rating=1 + n % 5)
        for n in range(60)
    ]
    undisturbed = Stores()
    whole = undisturbed.partition()
    whole.process(chunk(events))
    whole.checkpoint()
    stores = Stores(UnreliableBlobs(chaos=dice))
    lives = [stores.partition(), stores.partition()]
    while max(life.checkpoint_offset for life in lives) < len(events):
        n = dice.randrange(2)
        life = lives[n]
        at = life.next_offset
        life.process(chunk(events[at : at + dice.randrange(8)], start=at))
        try:
            dice.choice([life.hand_over, life.checkpoint, lambda: None])()
        except TryLater:
            pass
        except StorageRewound:
            life.restore()
        if dice.random() < 0.15:
            lives[n] = stores.partition()
    stores.blobs.chaos = None
    assert [row[0] for row in stores.archived()] == list(range(len(events)))
    assert stores.archived() == undisturbed.archived()
    for user in ("u0", "u1", "u2", "u3"):
        assert stores.profile(user) == undisturbed.profile(user)
