"""A user's document: the latest rating counts, repeats change nothing, a stored vector fits its ratings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadInput
from models.recommend import profile as profiles
from models.recommend.profile import Profile, Rated, with_rating

ratings = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(0.5, 5), st.integers(0, 5), st.text(min_size=1, max_size=2)),
    max_size=12,
)


def profile_after(events: list[tuple[str, float, int, str]]) -> Profile:
    profile = Profile()
    for item, rating, time_us, key in events:
        profile = with_rating(profile, item, Rated(rating, time_us, key))
    return profile


@given(ratings)
def test_a_profile_reads_as_it_was_written(events: list[tuple[str, float, int, str]]) -> None:
    profile = profile_after(events)
    assert profiles.decode_profile(profiles.encode_profile(profile)) == profile


@given(ratings, st.randoms())
def test_ratings_with_keys_of_their_own_end_the_same_in_any_order(
    events: list[tuple[str, float, int, str]], random
) -> None:  # type: ignore[no-untyped-def]
    named = [(item, rating, time_us, f"{i}") for i, (item, rating, time_us, _) in enumerate(events)]
    shuffled = list(named)
    random.shuffle(shuffled)
    assert profile_after(named).ratings == profile_after(shuffled).ratings


def test_the_same_key_again_changes_nothing_even_after_another_rating() -> None:
    first = profile_after([("a", 5, 10, "k1")])
    assert with_rating(first, "a", Rated(1, 99, "k1")) is first
    second = with_rating(first, "a", Rated(1, 20, "k2"))
    assert second.ratings["a"].rating == 1
    assert with_rating(second, "a", Rated(5, 99, "k1")) is second


def test_the_oldest_ratings_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "MAX_RATINGS", 2)
    assert set(profile_after([("a", 1, 3, "x"), ("b", 1, 1, "y"), ("c", 1, 2, "z")]).ratings) == {"a", "c"}


def test_a_stored_vector_is_used_for_its_version_and_its_ratings_only() -> None:
    vector = np.array([1.5, -2.0], dtype=np.float32)
    profile = profile_after([("a", 5, 1, "k")])
    digest = profiles.ratings_digest([("a", 5.0)])
    kept = Profile(ratings=profile.ratings, factors={"m": profiles.stored_factor("v1", digest, vector)})
    kept = profiles.decode_profile(profiles.encode_profile(kept))
    np.testing.assert_array_equal(profiles.vector_of(kept, "m", "v1", 2), vector)
    assert profiles.vector_of(kept, "m", "v2", 2) is None
    assert profiles.vector_of(kept, "other", "v1", 2) is None
    assert profiles.vector_of(kept, "m", "v1", 3) is None
    assert profiles.vector_of(with_rating(kept, "a", Rated(4, 2, "k2")), "m", "v1", 2) is None


def test_ids_of_any_kind_get_partitions_of_their_own() -> None:
    names = ["a", "A", "a/b", "a%2Fb", "é", "e\u0301", "☂" * 256, "☂" * 255, "=", "'; DROP TABLE documents; --"]
    partitions = [profiles.user_partition(name) for name in names]
    assert len(set(partitions)) == len(names)
    assert all(len(text) < 1000 and not set(text) & set("/\\?# '\"") for text in partitions)


def test_a_document_of_another_kind_is_bad_input() -> None:
    with pytest.raises(BadInput, match="profile"):
        profiles.decode_profile(b'{"ratings": 3}')
