"""Events of the hub `ratings`: which ids and ratings are taken, and how the two kinds are told apart."""

import json

import msgspec
import pytest

from models.contracts import FeedbackEvent, ForgetEvent
from models.contracts.feedback import RatingsEvent

RATING = {"kind": "rating", "user": "u", "item": "i", "rating": 4, "time_us": 1, "key": "k"}


def decoded(**changes: object) -> object:
    return msgspec.json.decode(json.dumps(RATING | changes).encode(), type=RatingsEvent)


def test_the_kind_of_an_event_says_what_it_is() -> None:
    assert decoded() == FeedbackEvent(user="u", item="i", rating=4.0, time_us=1, key="k")
    assert decoded(kind="forget") == ForgetEvent(user="u", time_us=1)
    with pytest.raises(msgspec.ValidationError, match="kind"):
        decoded(kind="like")


@pytest.mark.parametrize("id", ["0", "ü/\\?#", "'; DROP TABLE documents; --", "😀" * 256, " ", "\u2028"])
def test_an_id_may_hold_any_character_but_control_characters(id: str) -> None:
    assert decoded(user=id, item=id, key=id) == FeedbackEvent(user=id, item=id, rating=4, time_us=1, key=id)


@pytest.mark.parametrize("id", ["", "x" * 257, "a\n", "\n", "a\x00b", "\x7f", "\x85", "\ud800", 7, None])
@pytest.mark.parametrize("field", ["user", "item", "key"])
def test_other_ids_are_refused(field: str, id: object) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decoded(**{field: id})


@pytest.mark.parametrize("change", [{"rating": r} for r in (0, 0.49, 5.01, -1, float("nan"), "4", True, None)])
def test_a_rating_off_the_scale_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decoded(**change)


@pytest.mark.parametrize("time_us", [-1, 4_102_444_800_000_001, 1.5, "now"])
def test_a_time_outside_the_calendar_is_refused(time_us: object) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decoded(time_us=time_us)
