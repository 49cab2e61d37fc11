"""Feedback by HTTP: the hub first, then the profile."""

from dataclasses import dataclass, field
from typing import cast

import msgspec
import pytest

from functions.recommend.feedback import forget, rate
from functions.recommend.lists import read_profile
from functions.recommend.services import RecommendServices
from models.contracts.feedback import RatingsEvent
from models.errors import BadInput, TryLater
from models.recommend.history import apply_events, forgotten_until
from tests.fakes import FakeClock, FakeSender, FakeState


@dataclass
class Away(FakeSender):
    """A hub that does not answer."""

    def send(self, key: str, body: bytes) -> None:
        raise TryLater("away")


@dataclass
class Here:
    """What feedback needs of RecommendServices."""

    state: FakeState = field(default_factory=FakeState)
    ratings: FakeSender = field(default_factory=FakeSender)
    clock: FakeClock = field(default_factory=FakeClock)

    @property
    def services(self) -> RecommendServices:
        return cast(RecommendServices, self)

    def rate(self, item: str = "a", rating: float = 4.0, key: str = "k", **more: object) -> bool:
        body = {"user": "u", "item": item, "rating": rating, "key": key, **more}
        return rate(msgspec.json.encode(body), self.services).changed

    def rated(self) -> dict[str, float]:
        return {item: each.rating for item, each in read_profile(self.state, "u").ratings.items()}

    def now_us(self) -> int:
        return int(self.clock.now() * 1e6)


def test_what_the_hub_did_not_take_is_in_no_profile() -> None:
    here = Here(ratings=Away())
    with pytest.raises(TryLater):
        here.rate()
    with pytest.raises(TryLater):
        forget("u", here.services)
    assert here.state.documents == {}


def test_a_rating_is_in_the_hub_under_its_user_and_in_the_profile_and_again_nowhere() -> None:
    here = Here()
    assert here.rate()
    assert not here.rate()
    assert here.rated() == {"a": 4.0}
    assert [key for key, _ in here.ratings.events] == ["u"]


def test_the_events_in_the_hub_alone_make_the_same_profile() -> None:
    here, healed = Here(), FakeState()
    here.rate("a", 4.0, "1")
    here.rate("a", 2.0, "2", time_us=here.now_us() - 1)
    here.rate("b", 5.0, "3")
    for user, body in here.ratings.events:
        apply_events(healed, user, [msgspec.json.decode(body, type=RatingsEvent)])
    assert read_profile(healed, "u") == read_profile(here.state, "u")


def test_a_key_that_was_used_for_another_rating_is_bad_input() -> None:
    here = Here()
    here.rate("a", key="k")
    with pytest.raises(BadInput, match="key"):
        here.rate("b", key="k")


def test_so_is_one_of_a_rating_that_was_replaced_since_and_nothing_is_sent() -> None:
    here = Here()
    here.rate("a", 4.0, "first")
    here.clock.advance(1)
    here.rate("a", 5.0, "second")
    for item, rating in (("b", 4.0), ("a", 3.0)):
        with pytest.raises(BadInput, match="'first' was used for a rating of 'a' with 4"):
            here.rate(item, rating, "first")
    assert not here.rate("a", 4.0, "first")
    assert (len(here.ratings.events), here.rated()) == (2, {"a": 5.0})


def test_a_time_a_little_ahead_counts_as_now_and_one_far_ahead_is_bad_input() -> None:
    here = Here()
    here.rate(time_us=here.now_us() + 60_000_000)
    assert read_profile(here.state, "u").ratings["a"].time_us == here.now_us()
    with pytest.raises(BadInput, match="future"):
        here.rate(key="k2", time_us=here.now_us() + 600_000_000)


def test_a_deleted_user_is_gone_with_what_an_instance_with_a_fast_clock_took() -> None:
    here, ahead = Here(), Here(clock=FakeClock(FakeClock().time + 2))
    ahead.state = here.state
    here.rate("a", key="1")
    ahead.rate("b", key="2")
    done = forget("u", here.services)
    assert (done.ratings, here.rated()) == (2, {})
    assert forgotten_until(here.state, "u") == done.time_us == ahead.now_us()
    here.clock.advance(3)
    here.rate("c", key="3")
    assert here.rated() == {"c": 4.0}
