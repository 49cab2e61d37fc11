"""What the state store keeps of a user: ratings, and user vectors that were trained or folded in from them.

A stored vector is a cache: it is used only if it belongs to the live version and to exactly these ratings; else the
vector is folded in from the ratings. So feedback takes effect at once, and a swap of models needs no migration.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import numpy as np

from models.errors import BadInput
from models.names import escaped
from models.recommend.ratings import Float32

CONTAINER: Final = "recommender"
PROFILE_ID: Final = "profile"
TOMBSTONES: Final = "deleted"
"""Partition of the tombstones: one document per deleted user."""
MAX_RATINGS: Final = 20_000
"""Of one user; beyond it the oldest go."""
MAX_REPLACED: Final = 100


class Rated(msgspec.Struct, frozen=True, array_like=True):
    """A rating of one item. Of several the one with the largest (time_us, key) counts."""

    rating: float
    time_us: int
    key: str = ""


class StoredFactor(msgspec.Struct, frozen=True, kw_only=True):
    """A user vector of one model version, and the ratings it was made from."""

    version: str
    ratings_digest: str
    vector: str
    """base64 of little-endian float32."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The document of one user. `factors` is keyed by model name."""

    format: int = 1
    ratings: dict[str, Rated] = {}
    factors: dict[str, StoredFactor] = {}
    replaced: list[str] = []
    """Keys of ratings that later ones replaced, latest last, at most MAX_REPLACED: late repeats are known by them."""
    spent: dict[str, tuple[str, float]] = {}
    """Item and rating that a key in `replaced` stood for; older documents lack it."""

    def replacing(self, item: str, before: Rated) -> "Profile":
        """The profile that remembers the key of the rating `before` of `item`, which another one replaces."""
        if not before.key:
            return self
        replaced = [*self.replaced, before.key][-MAX_REPLACED:]
        spent = {**self.spent, before.key: (item, before.rating)}
        return msgspec.structs.replace(
            self, replaced=replaced, spent={key: spent[key] for key in replaced if key in spent}
        )


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """A user was deleted: ratings at `time_us` or before are left out of every later training and bulk write."""

    format: int = 1
    user: str
    time_us: int


def user_partition(user: str) -> str:
    """Partition of a user's documents."""
    return f"user:{escaped(user)}"


def encode_profile(profile: Profile) -> bytes:
    """JSON of a profile."""
    return msgspec.json.encode(profile)


def decode_profile(data: bytes) -> Profile:
    """The profile of `encode_profile`. Raises BadInput if `data` is something else."""
    try:
        return _profiles.decode(data)
    except msgspec.DecodeError as error:
        raise BadInput(f"profile of a user cannot be read: {error}") from error


def with_rating(profile: Profile, item: str, rated: Rated) -> Profile:
    """The profile after a rating; the same object if that changes nothing: it is old, or its key came before."""
    before = profile.ratings.get(item)
    if rated.key and rated.key in profile.replaced:
        return profile
    if before is None:
        return msgspec.structs.replace(profile, ratings=newest({**profile.ratings, item: rated}))
    if (rated.key and rated.key == before.key) or (rated.time_us, rated.key) <= (before.time_us, before.key):
        return profile
    return msgspec.structs.replace(profile.replacing(item, before), ratings={**profile.ratings, item: rated})


def newest(ratings: Mapping[str, Rated]) -> dict[str, Rated]:
    """At most MAX_RATINGS of the ratings, the oldest left out."""
    if len(ratings) <= MAX_RATINGS:
        return dict(ratings)
    ordered = sorted(ratings.items(), key=lambda pair: (pair[1].time_us, pair[1].key, pair[0]))
    return dict(ordered[-MAX_RATINGS:])


def ratings_digest(ratings: Iterable[tuple[str, float]]) -> str:
    """Digest of a user's (item, rating) pairs, whatever their order."""
    return hashlib.blake2b(msgspec.json.encode(sorted(ratings)), digest_size=12).hexdigest()


def digest_of(profile: Profile) -> str:
    """`ratings_digest` of a profile."""
    return ratings_digest((item, rated.rating) for item, rated in profile.ratings.items())


def stored_factor(version: str, digest: str, vector: Float32) -> StoredFactor:
    """A user vector (float32, (f,)) as it is stored."""
    text = base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode()
    return StoredFactor(version=version, ratings_digest=digest, vector=text)


def vector_of(profile: Profile, model: str, version: str, size: int) -> Float32 | None:
    """The stored vector (float32, (size,)) if it is that version's and made from these ratings, else None."""
    stored = profile.factors.get(model)
    if stored is None or stored.version != version or stored.ratings_digest != digest_of(profile):
        return None
    try:
        vector = np.frombuffer(base64.b64decode(stored.vector, validate=True), dtype="<f4")
    except ValueError:
        return None
    return vector.astype(np.float32) if vector.shape == (size,) and np.isfinite(vector).all() else None


_profiles: Final = msgspec.json.Decoder(Profile)
