"""The bulk write of histories and vectors, beside feedback and deletions."""

import msgspec
import numpy as np
import pytest

from models.inference.foldin import FoldIn
from models.ports import Put, Remove
from models.recommend.equations import Equations
from models.recommend.profile import (
    CONTAINER,
    TOMBSTONES,
    Profile,
    Rated,
    Tombstone,
    decode_profile,
    encode_profile,
    user_partition,
    vector_of,
)
from models.recommend.ratings import Ratings
from tests.fakes import FakeState
from training.recommend.export import foldin_graph
from training.recommend.users import Vectors, Written, merged, write_users

FACTORS = np.eye(3, 2, dtype=np.float32) + np.float32(0.1)
EQUATIONS = Equations("native", "implicit", "ones", 1.0, 2.0)
ITEMS = {"a": 0, "b": 1, "c": 2}


def vectors(version: str = "v1") -> Vectors:
    return Vectors("m", version, FoldIn(foldin_graph(), FACTORS, EQUATIONS), ITEMS)


def three() -> Ratings:
    return Ratings.of(["u", "u", "w"], ["a", "b", "unknown"], [5, 3, 4], [100, 200, 300])


def profile(state: FakeState, user: str) -> Profile | None:
    document = state.get(CONTAINER, user_partition(user), "profile")
    return decode_profile(document.body) if document else None


def feedback(state: FakeState, user: str, item: str, rated: Rated) -> None:
    before = profile(state, user) or Profile()
    after = msgspec.structs.replace(before, ratings={**before.ratings, item: rated})
    state.transact(CONTAINER, user_partition(user), [Put("profile", encode_profile(after))])


def test_histories_and_vectors_are_written_and_written_again_nothing_changes() -> None:
    state = FakeState()
    seen: list[tuple[int, int]] = []
    assert write_users(state, three(), vectors(), progress=lambda *now: seen.append(now)) == Written(2, 2)
    found = profile(state, "u")
    assert found is not None
    assert found.ratings == {"a": Rated(5.0, 100_000_000), "b": Rated(3.0, 200_000_000)}
    vector = vector_of(found, "m", "v1", 2)
    places, values = np.array([0, 1]), np.array([5, 3], dtype=np.float32)
    np.testing.assert_allclose(vector, vectors().fold.reference(places, values), rtol=1e-5)
    assert seen == [(2, 2)]
    # Nothing that the version knows: no vector, and the answer is popular items.
    assert (stranger := profile(state, "w")) is not None
    assert stranger.factors == {}
    before = dict(state.documents)
    assert write_users(state, three(), vectors()) == Written(2, 0)
    assert state.documents == before


def test_a_new_version_replaces_the_vector_alone() -> None:
    state = FakeState()
    write_users(state, three(), vectors("v1"))
    assert write_users(state, three(), vectors("v2")).changed == 1
    found = profile(state, "u")
    assert found is not None
    assert vector_of(found, "m", "v1", 2) is None
    assert vector_of(found, "m", "v2", 2) is not None


def test_later_feedback_stays_and_older_ratings_are_replaced() -> None:
    state = FakeState()
    feedback(state, "u", "a", Rated(1.0, 150_000_000, "k1"))
    feedback(state, "u", "b", Rated(1.0, 150_000_000, "k2"))
    write_users(state, three(), vectors())
    assert (found := profile(state, "u")) is not None
    assert found.ratings == {"a": Rated(1.0, 150_000_000, "k1"), "b": Rated(3.0, 200_000_000)}
    assert (found.replaced, found.spent) == (["k2"], {"k2": ("b", 1.0)})


def test_a_corrected_rating_of_the_same_time_counts() -> None:
    first = merged(Profile(), {"a": Rated(5.0, 0)})
    assert merged(first, {"a": Rated(4.0, 0)}).ratings == {"a": Rated(4.0, 0)}
    assert merged(first, {"a": Rated(5.0, 0)}) is first


def test_feedback_that_comes_between_reading_and_writing_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    state = FakeState()
    real = state.get
    rivals = iter([Rated(2.0, 900_000_000, "k")])

    def get(container: str, partition: str, id: str):  # type: ignore[no-untyped-def]  # as the fake's
        found = real(container, partition, id)
        if partition == user_partition("u"):
            for rated in rivals:
                feedback(state, "u", "c", rated)
        return found

    monkeypatch.setattr(state, "get", get)
    write_users(state, three(), vectors(), threads=1)
    assert (found := profile(state, "u")) is not None
    assert set(found.ratings) == {"a", "b", "c"}
    assert vector_of(found, "m", "v1", 2) is not None


@pytest.mark.parametrize("known", [True, False])
def test_a_user_deleted_while_the_write_goes_on_stays_deleted(monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    state = FakeState()
    if known:
        write_users(state, three(), vectors())
    real = state.get
    deletions = iter([Tombstone(user="u", time_us=500_000_000)])

    def get(container: str, partition: str, id: str):  # type: ignore[no-untyped-def]  # as the fake's
        found = real(container, partition, id)
        if partition == user_partition("u"):
            for mark in deletions:  # as the API deletes: the mark first
                state.transact(CONTAINER, TOMBSTONES, [Put("u", msgspec.json.encode(mark))])
                state.transact(CONTAINER, user_partition("u"), [Remove("profile")])
        return found

    monkeypatch.setattr(state, "get", get)
    write_users(state, three(), vectors(), threads=1)
    assert profile(state, "u") is None
    assert profile(state, "w") is not None


def test_a_deleted_user_who_came_back_keeps_what_came_after() -> None:
    state = FakeState()
    mark = Tombstone(user="u", time_us=150_000_000)
    state.transact(CONTAINER, TOMBSTONES, [Put("u", msgspec.json.encode(mark))])
    write_users(state, three(), vectors())
    assert (found := profile(state, "u")) is not None
    assert set(found.ratings) == {"b"}


def test_a_profile_that_cannot_be_read_stops_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    state = FakeState()
    state.transact(CONTAINER, user_partition("u"), [Put("profile", b"[]")])
    assert write_users(state, three(), vectors()) == Written(2, 1)
    assert "left as it is" in caplog.text
    assert state.get(CONTAINER, user_partition("u"), "profile").body == b"[]"  # type: ignore[union-attr]  # it is there
