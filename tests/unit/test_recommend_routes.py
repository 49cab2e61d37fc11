"""What the recommendation routes answer, on fakes."""

import json
from typing import Any
from urllib.parse import unquote

import azure.functions as func
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contracts.feedback import FeedbackEvent, ForgetEvent, RatingsEvent
from models.errors import TryLater
from models.names import escaped
from models.ports import Put
from models.recommend.profile import (
    CONTAINER,
    PROFILE_ID,
    TOMBSTONES,
    Profile,
    Rated,
    decode_profile,
    digest_of,
    encode_profile,
    stored_factor,
    user_partition,
)
from tests.unit.recommending import Desk, items_of, publish, publish_machine, small_bundle

IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffd"), min_size=1, max_size=256)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def store(desk: Desk, user: str, profile: Profile) -> None:
    desk.state.transact(CONTAINER, user_partition(user), [Put(PROFILE_ID, encode_profile(profile))])


# ---------------------------------------------------------------------- lists


def test_an_unknown_user_gets_popular_items_and_the_answer_says_so(desk: Desk) -> None:
    body = desk.recommend("nobody", k=3)
    assert items_of(body) == ["1", "2", "3"]
    assert (body["reason"], body["model_version"], body["variant"], body["page"]) == ("popular", "v1", "default", 1)


def test_a_rating_changes_the_next_answer_and_is_never_recommended(desk: Desk) -> None:
    status, accepted = desk.rate("ana", "2")
    assert (status, accepted["changed"]) == (200, True)
    body = desk.recommend("ana", k=5)
    assert body["reason"] == "fold-in"
    assert "2" not in items_of(body)
    assert all(int(item) % 2 == 0 for item in items_of(body))  # even items lie near item 2


def test_a_stored_vector_is_used_until_the_ratings_or_the_version_change(desk: Desk) -> None:
    profile = Profile(ratings={"2": Rated(5.0, 1, "k")})
    vector = np.eye(8, dtype=np.float32)[0]
    digest = digest_of(profile)
    store(desk, "ana", msgspec.structs.replace(profile, factors={"recommender": stored_factor("v1", digest, vector)}))
    body = desk.recommend("ana", k=5)
    assert body["reason"] == "personal"
    assert all(int(item) % 2 == 1 for item in items_of(body))
    publish(desk.registry, small_bundle(seed=1), "v2")
    desk.clock.advance(2)
    assert (desk.recommend("ana")["reason"], desk.recommend("ana")["model_version"]) == ("fold-in", "v2")


def test_pages_together_are_the_whole_list_without_repeats(desk: Desk) -> None:
    desk.rate("ana", "3")
    whole = items_of(desk.recommend("ana", k=100))
    pages, page = [], 1
    while page is not None:
        body = desk.recommend("ana", k=7, page=page)
        pages += items_of(body)
        page = body.get("next_page")
    assert pages == whole
    assert len(set(pages)) == 39


def test_exclusions_genre_and_seen_items_are_left_out(desk: Desk) -> None:
    desk.rate("ana", "2")
    body = desk.recommend("ana", k=40, genre="comedy", exclude="4,6,unknown")
    assert set(items_of(body)) == {str(i) for i in range(8, 41, 2)}
    assert {genre for item in body["items"] for genre in item["genres"]} == {"Comedy"}
    body = desk.recommend("ana", k=40, exclude='["4", "a,b"]')
    assert "4" not in items_of(body)


def test_explanations_name_rated_items_that_add_up(desk: Desk) -> None:
    for item in ("2", "4", "5"):
        desk.rate("ana", item)
    found = desk.recommend("ana", k=10, explain="true")["items"]
    assert {len(item["because"]) for item in found} == {2, 3}
    for item in found:
        assert {each["item"] for each in item["because"]} <= {"2", "4", "5"}
        shares = [each["share"] for each in item["because"]]
        assert shares == sorted(shares, reverse=True)
        if len(shares) == 3:
            assert sum(shares) == pytest.approx(item["score"], rel=1e-3)
        else:  # what speaks against the item is not shown
            assert sum(shares) > item["score"]


def test_ratings_of_items_that_the_model_does_not_know_count_as_none(desk: Desk) -> None:
    desk.rate("ana", "brand new")
    assert desk.recommend("ana")["reason"] == "popular"


def test_anonymous_ratings_get_the_list_of_a_user_with_these_ratings(desk: Desk) -> None:
    desk.rate("ana", "2", 4.0)
    status, body = desk.call("recommend_ratings", body={"ratings": [{"item": "2", "rating": 4.0}], "k": 5})
    assert status == 200
    assert body["reason"] == "fold-in"
    assert items_of(body) == items_of(desk.recommend("ana", k=5))


def test_similar_items_leave_out_the_item_itself(desk: Desk) -> None:
    status, body = desk.call("similar_items", "2", k=5)
    assert (status, body["item"], body["reason"]) == (200, "2", "similar")
    assert "2" not in items_of(body)
    assert all(int(item) % 2 == 0 for item in items_of(body))
    assert body["items"][0]["score"] <= 1.0001


def test_an_unknown_item_is_404_and_says_which(desk: Desk) -> None:
    status, body = desk.call("similar_items", "'; DROP TABLE items; --")
    assert status == 404
    assert "DROP TABLE" in body["error"]


def test_popular_items_by_genre(desk: Desk) -> None:
    status, body = desk.call("popular_items", k=2, genre="Drama")
    assert (status, items_of(body), body["items"][0]["score"]) == (200, ["1", "3"], 40.0)


def test_without_a_live_model_the_answer_is_503_and_says_what_to_do() -> None:
    status, body = Desk(promote=False).call("recommend_user", "ana")
    assert status == 503
    assert "penstock train als" in body["error"]


def test_an_id_with_a_slash_can_go_in_the_query(desk: Desk) -> None:
    desk.rate("a/b", "2")
    assert desk.call("recommend_user", "-", user="a/b")[1]["reason"] == "fold-in"


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "query",
    [
        {"k": 0}, {"k": 1_000_000}, {"k": -1}, {"k": "ten"}, {"k": "9" * 5000}, {"k": "١"}, {"k": 1.5},
        {"page": 0}, {"page": 10_001}, {"k": 1000, "page": 11}, {"genre": "no such genre"}, {"variant": "z"},
        {"explain": "maybe"}, {"exclude": "[1, 2]"}, {"exclude": "[broken"}, {"exclude": "a\x00b"},
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_parameter_is_400_and_named(desk: Desk, query: dict[str, object]) -> None:
    desk.rate("ana", "2")
    status, body = desk.call("recommend_user", "ana", **query)
    assert status == 400
    assert next(reversed(query)) in body["error"]


@pytest.mark.parametrize("id", ["", "a\x00b", "x" * 257, "\ud800"])
@pytest.mark.parametrize("function", ["recommend_user", "similar_items", "forget_user"])
def test_an_id_that_can_be_none_is_400(desk: Desk, function: str, id: str) -> None:
    status, body = desk.call(function, id)
    assert (status, "expected" in body["error"]) == (400, True)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"user": "u"}',
        {"user": "u", "item": "2", "rating": 0, "key": "k"}, {"user": "u", "item": "2", "rating": 5.5, "key": "k"},
        {"user": "u", "item": "2", "rating": "5", "key": "k"}, {"user": "u", "item": "2", "rating": True, "key": "k"},
        b'{"user": "u", "item": "2", "rating": NaN, "key": "k"}',
        b'{"user": "u", "item": "2", "rating": 1e999, "key": "k"}',
        {"user": "", "item": "2", "rating": 5, "key": "k"}, {"user": "u", "item": "x" * 257, "rating": 5, "key": "k"},
        {"user": "u", "item": "2", "rating": 5, "key": "k\n"}, {"user": 7, "item": "2", "rating": 5, "key": "k"},
        {"user": "u", "item": "2", "rating": 5, "key": "k", "time_us": -1},
        {"user": "u", "item": "2", "rating": 5, "key": "k", "time_us": 4_000_000_000_000_000},
        {"user": "u", "item": "2", "rating": 5, "key": "k", "ratnig": 5},
        b'{"user": "u", "item": "2", "rating": 5, "key": "' + b"k" * 2_000_000 + b'"}',
    ],
    ids=lambda body: str(body)[:60],
)  # fmt: skip
def test_a_rating_that_is_none_is_400_and_leaves_no_trace(desk: Desk, body: bytes | dict[str, object]) -> None:
    status, answer = desk.call("rate_item", body=body)
    assert status == 400
    assert answer["error"]
    assert not desk.sender.events
    assert not desk.state.documents


@pytest.mark.parametrize(
    "body",
    [
        b"{", {}, {"ratings": 3}, {"ratings": [{"item": "2"}]}, {"ratings": [{"item": "2", "rating": 9}]},
        {"ratings": [{"item": "2", "rating": 5}] * 2}, {"ratings": [], "k": 0}, {"ratings": [], "k": 1_000_000},
        {"ratings": [], "page": 10_001}, {"ratings": [], "genre": "none such"}, {"ratings": [], "variant": "none"},
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_anonymous_request_is_400(desk: Desk, body: bytes | dict[str, object]) -> None:
    assert desk.call("recommend_ratings", body=body)[0] == 400


@given(IDS)
@settings(max_examples=60, deadline=None)
def test_any_text_can_be_a_user_and_an_item(name: str) -> None:
    desk = Desk()
    assert desk.rate(name, "2", key=name)[1]["changed"] is True
    assert desk.recommend(name)["reason"] == "fold-in"
    assert desk.rate("ana", name, key=name)[1]["changed"] is True
    assert desk.call("forget_user", name)[1]["ratings"] == 1
    assert desk.recommend(name)["reason"] == "popular"


@given(st.binary(max_size=60), st.sampled_from(["rate_item", "recommend_ratings", "predict_likes"]))
@settings(max_examples=60, deadline=None)
def test_no_body_is_a_server_error(body: bytes, function: str) -> None:
    assert DESK.call(function, body=body)[0] == 400


DESK = Desk()


@given(
    st.sets(st.integers(1, 40)),
    st.sets(st.integers(1, 45)),
    st.sampled_from([None, "Drama", "comedy"]),
    st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_no_list_holds_what_is_seen_excluded_doubled_or_of_another_genre(
    seen: set[int], excluded: set[int], genre: str | None, k: int
) -> None:
    ratings = {str(item): Rated(4.0, 1, f"k{item}") for item in seen}
    store(DESK, "ana", Profile(ratings=ratings))
    query = {"k": k, "exclude": ",".join(map(str, excluded)), **({"genre": genre} if genre else {})}
    found: list[str] = []
    page: int | None = 1
    while page is not None:
        body = DESK.recommend("ana", page=page, **query)
        assert len(body["items"]) <= k
        scores = [item["score"] for item in body["items"]]
        assert scores == sorted(scores, reverse=True)
        found += items_of(body)
        page = body.get("next_page")
    wanted = {str(i) for i in range(1, 41) if i not in seen and i not in excluded}
    if genre:
        wanted = {item for item in wanted if (int(item) % 2 == 1) == (genre == "Drama")}
    assert sorted(found) == sorted(wanted)


# ---------------------------------------------------------------------- feedback


def events(desk: Desk) -> list[RatingsEvent]:
    return [msgspec.json.decode(body, type=RatingsEvent) for _, body in desk.sender.events]


def test_the_hub_gets_a_rating_before_the_profile_does(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(key: str, body: bytes) -> None:
        raise TryLater("the hub is away")

    monkeypatch.setattr(desk.sender, "send", away)
    status, _ = desk.rate("ana", "2")
    assert status == 503
    assert not desk.state.documents
    monkeypatch.undo()
    assert desk.rate("ana", "2")[1]["changed"] is True
    assert events(desk) == [
        FeedbackEvent(user="ana", item="2", rating=5.0, time_us=int(desk.clock.now() * 1e6), key="ana-2-5.0")
    ]


def test_a_request_repeated_under_its_key_changes_nothing(desk: Desk) -> None:
    desk.rate("ana", "2", 5.0, "k1")
    desk.rate("ana", "2", 1.0, "k2")
    before = dict(desk.state.documents)
    for rating, key in ((5.0, "k1"), (1.0, "k2")):
        status, body = desk.rate("ana", "2", rating, key)
        assert (status, body["changed"]) == (200, False)
    assert desk.state.documents == before
    assert len(desk.sender.events) == 2


def test_a_key_that_named_another_rating_is_400(desk: Desk) -> None:
    desk.rate("ana", "2", 5.0, "k1")
    for item, rating in (("3", 5.0), ("2", 1.0)):
        status, body = desk.rate("ana", item, rating, "k1")
        assert (status, "take a new one" in body["error"]) == (400, True)


def test_an_older_rating_does_not_replace_a_later_one(desk: Desk) -> None:
    desk.rate("ana", "2", 5.0, "k1")
    body = desk.rate("ana", "2", 1.0, "k2", time_us=1_000_000)[1]
    assert body["changed"] is False


def test_a_deleted_user_is_unknown_and_leaves_a_tombstone_and_an_event(desk: Desk) -> None:
    desk.rate("ana", "2")
    status, body = desk.call("forget_user", "ana")
    assert (status, body["ratings"]) == (200, 1)
    assert desk.recommend("ana")["reason"] == "popular"
    assert desk.state.get(CONTAINER, user_partition("ana"), PROFILE_ID) is None
    assert desk.state.get(CONTAINER, TOMBSTONES, escaped("ana")) is not None
    assert isinstance(events(desk)[-1], ForgetEvent)
    assert desk.call("forget_user", "ana")[0] == 200
    desk.rate("ana", "4")
    document = desk.state.get(CONTAINER, user_partition("ana"), PROFILE_ID)
    assert document is not None
    assert set(decode_profile(document.body).ratings) == {"4"}


# ---------------------------------------------------------------------- variants


def test_shares_are_kept_by_a_stable_hash_and_can_be_overridden() -> None:
    desk = Desk(shares="a=recommender:90,b=recommender-b:10", promote=True)
    from models.registry import Registry

    publish(Registry(desk.blobs, "recommender-b"), small_bundle(seed=2), "w1")
    chosen = [desk.recommend(f"user {i}")["variant"] for i in range(400)]
    assert [desk.recommend(f"user {i}")["variant"] for i in range(400)] == chosen
    assert 15 < chosen.count("b") < 70
    assert desk.recommend("user 1", variant="b")["model_version"] == "w1"
    assert desk.recommend("user 1", variant="a")["model_version"] == "v1"
    counts = desk.call("variant_counts")[1]["variants"]
    assert [(each["variant"], each["share"]) for each in counts] == [("a", 0.9), ("b", 0.1)]
    assert counts[1]["answers"] == {"popular": 2 * chosen.count("b") + 1}


def test_counts_are_stored_in_intervals_and_survive_the_process(desk: Desk) -> None:
    desk.recommend("x")
    assert desk.state.get(CONTAINER, "variants", "counts") is None
    desk.clock.advance(6)
    desk.recommend("x")
    stored = desk.state.get(CONTAINER, "variants", "counts")
    assert stored is not None
    assert json.loads(stored.body)["answers"] == {"default/popular": 2}


@pytest.mark.parametrize(
    "text", ["a", "a=m", "a=m:x", "a=m:1,a=n:1", "a=m:0", "=m:1", "a=:1", "a=m:99999999", "a/b=m:1"]
)
def test_a_setting_that_is_no_shares_is_refused(text: str) -> None:
    from functions.recommend.variants import parse_shares
    from models.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="PENSTOCK_RECOMMENDER_VARIANTS"):
        parse_shares(text, "recommender")


# ---------------------------------------------------------------------- predictions


def test_predictions_for_pairs_know_what_they_do_not_know(desk: Desk) -> None:
    publish_machine(desk.blobs)
    pairs = [{"user": "1", "item": "1"}, {"user": "3", "item": "40"}, {"user": "who?", "item": "1"}]
    status, body = desk.call("predict_likes", body={"pairs": pairs})
    assert status == 200
    assert [each["known"] for each in body["predictions"]] == [True, True, False]
    assert [each["likes"] for each in body["predictions"]] == [True, False, False]
    assert (body["threshold"], body["model_version"], body["reason"]) == (0.5, "f1", "prediction")
    assert all(not each["likes"] for each in desk.call(
        "predict_likes", body={"pairs": pairs, "threshold": 1.0})[1]["predictions"])  # fmt: skip


def test_predictions_for_a_user_leave_out_what_was_rated(desk: Desk) -> None:
    publish_machine(desk.blobs)
    desk.rate("2", "1")
    body = desk.call("predict_likes", body={"user": "2", "k": 3})[1]
    assert [each["item"] for each in body["predictions"]] == ["2", "3", "4"]


@pytest.mark.parametrize(
    "body",
    [{}, {"user": "1", "pairs": []}, {"pairs": []}, {"user": "1", "k": 0}, {"user": "1", "threshold": 2}],
    ids=str,
)
def test_a_bad_request_for_predictions_is_400(desk: Desk, body: dict[str, object]) -> None:
    publish_machine(desk.blobs)
    assert desk.call("predict_likes", body=body)[0] == 400


def test_without_a_machine_predictions_are_503(desk: Desk) -> None:
    assert desk.call("predict_likes", body={"user": "1"})[0] == 503


def test_an_addition_to_the_counts_whose_answer_was_lost_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    real = desk.state.transact

    def lost(*write: Any) -> None:
        real(*write)
        raise TryLater("the answer was lost")

    desk.recommend("u1")
    with monkeypatch.context() as broken:
        broken.setattr(desk.state, "transact", lost)
        desk.here.counter.flush()
    desk.recommend("u2")
    for _ in range(2):
        (counts,) = desk.call("variant_counts")[1]["variants"]
        assert counts["answers"] == {"popular": 2}


@pytest.mark.parametrize("name", ["k", "page", "explain", "genre", "variant"])
def test_an_empty_parameter_is_refused_though_hosts_leave_it_out(name: str) -> None:
    desk = Desk()
    request = func.HttpRequest(
        method="GET", url=f"http://h/api/x?{name}=&exclude=", params={}, route_params={"id": "u"}, body=b""
    )
    answer = desk.functions["recommend_user"](request)
    assert answer.status_code == 400
    assert name in json.loads(answer.get_body())["error"]


@pytest.mark.parametrize(("function", "name"), [("recommend_user", "user"), ("similar_items", "item")])
def test_an_empty_id_in_the_query_is_refused_and_not_taken_for_a_dash(function: str, name: str) -> None:
    desk = Desk()
    request = func.HttpRequest(
        method="GET", url=f"http://h/api/x?{name}=", params={}, route_params={"id": "-"}, body=b""
    )
    answer = desk.functions[function](request)
    assert answer.status_code == 400
    assert name in json.loads(answer.get_body())["error"]


def test_an_id_with_a_byte_that_is_no_text_is_refused() -> None:
    desk = Desk()
    broken = unquote("%ff")
    for function in ("recommend_user", "similar_items", "forget_user"):
        status, body = desk.call(function, broken)
        assert (status, "UTF-8" in body["error"]) == (400, True)
    assert desk.sender.events == []
