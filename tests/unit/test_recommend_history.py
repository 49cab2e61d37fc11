"""Events applied to profiles: in any order, again and by several at once, they make the same profile."""

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contracts import FeedbackEvent, ForgetEvent
from models.contracts.feedback import RatingsEvent
from models.errors import BadInput
from models.ports import Put
from models.recommend.history import apply_events, forgotten_until
from models.recommend.profile import CONTAINER, PROFILE_ID, decode_profile, user_partition
from tests.fakes import FakeState


def rated(item: str, rating: float = 4.0, time_us: int = 10, key: str = "") -> FeedbackEvent:
    return FeedbackEvent(user="u", item=item, rating=rating, time_us=time_us, key=key or f"{item}@{time_us}")


def forget(time_us: int) -> ForgetEvent:
    return ForgetEvent(user="u", time_us=time_us)


def ratings(state: FakeState) -> dict[str, float] | None:
    document = state.get(CONTAINER, user_partition("u"), PROFILE_ID)
    return document and {item: each.rating for item, each in decode_profile(document.body).ratings.items()}


def test_a_rating_makes_the_profile_and_the_same_one_again_changes_nothing() -> None:
    state = FakeState()
    assert apply_events(state, "u", [rated("a")])
    before = dict(state.documents)
    assert not apply_events(state, "u", [rated("a")])
    assert (ratings(state), state.documents) == ({"a": 4.0}, before)


def test_a_forgotten_user_keeps_what_was_rated_after_it_and_nothing_before_even_if_that_comes_later() -> None:
    state = FakeState()
    apply_events(state, "u", [rated("old", time_us=10), rated("new", time_us=30)])
    apply_events(state, "u", [forget(20)])
    assert ratings(state) == {"new": 4.0}
    assert not apply_events(state, "u", [rated("late", time_us=20)])
    assert (ratings(state), forgotten_until(state, "u")) == ({"new": 4.0}, 20)


def test_a_user_forgotten_as_a_whole_has_no_document_but_a_tombstone_that_only_moves_on() -> None:
    state = FakeState()
    apply_events(state, "u", [rated("a"), forget(20), forget(15)])
    assert (ratings(state), forgotten_until(state, "u")) == (None, 20)
    assert not apply_events(state, "u", [forget(15)])
    assert forgotten_until(state, "u") == 20


@given(
    st.lists(
        st.one_of(
            st.builds(rated, st.sampled_from("abc"), st.sampled_from([1.0, 2.0]), st.integers(0, 9)),
            st.builds(forget, st.integers(0, 9)),
        ),
        max_size=8,
    ),
    st.randoms(),
)
def test_the_order_of_events_and_how_they_are_cut_makes_no_difference(events: list[RatingsEvent], random) -> None:
    # Under one key there is one rating.
    events = list({(type(e), getattr(e, "key", e.time_us)): e for e in events}.values())
    state, shuffled = FakeState(), FakeState()
    apply_events(state, "u", events)
    mixed = [*events, *random.sample(events, len(events) // 2)]
    random.shuffle(mixed)
    for batch in itertools.batched(mixed, 2) if hasattr(itertools, "batched") else [[each] for each in mixed]:
        apply_events(shuffled, "u", list(batch))
    assert ratings(shuffled) == ratings(state)
    assert forgotten_until(shuffled, "u") == forgotten_until(state, "u")


def test_several_writers_at_once_lose_no_rating() -> None:
    state = FakeState()

    def rate(writer: int) -> None:
        for n in range(20):
            apply_events(state, "u", [rated(f"{writer}-{n}")])

    threads = [threading.Thread(target=rate, args=(writer,)) for writer in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(ratings(state)) == 80


def test_a_profile_that_cannot_be_read_is_bad_input() -> None:
    state = FakeState()
    state.transact(CONTAINER, user_partition("u"), [Put(PROFILE_ID, b"{")])
    with pytest.raises(BadInput, match="profile"):
        apply_events(state, "u", [rated("a")])
