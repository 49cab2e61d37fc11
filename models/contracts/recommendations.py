"""Bodies of the recommendation routes, as JSON. Answers leave out fields that hold their default."""

from enum import StrEnum
from typing import Annotated, Final

import msgspec

from models.contracts.feedback import Id, Rating, TimeUs

MAX_K: Final = 1_000
"""Items in one answer."""
MAX_DEPTH: Final = 10_000
"""Items in all pages of one list."""
MAX_RATINGS: Final = 2_000
"""Ratings in one anonymous request."""
MAX_PAIRS: Final = 10_000
"""Pairs in one request for predictions."""

K = Annotated[int, msgspec.Meta(ge=1, le=MAX_K)]


class Basis(StrEnum):
    """Why these items: field `reason` of an answer."""

    PERSONAL = "personal"
    """By the user's trained vector."""
    FOLD_IN = "fold-in"
    """By a vector computed from the ratings just now."""
    POPULAR = "popular"
    """Nothing that the model knows was rated."""
    SIMILAR = "similar"
    """By the vector of an item."""
    PREDICTION = "prediction"
    """By the factorization machine."""


class Because(msgspec.Struct, frozen=True, kw_only=True):
    """A rated item that speaks for a recommendation, and how much of its score comes from it."""

    item: str
    title: str
    share: float


class RecommendedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item of a list. `score` is comparable within one list only; of popular items it is a number of ratings."""

    item: str
    score: float
    title: str
    genres: list[str] = []
    because: list[Because] | None = None
    """With `explain`: the rated items that contribute most, largest share first."""


class Recommendations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Items for a user or for given ratings, best first, equal scores by item id; none of them rated or excluded."""

    items: list[RecommendedItem]
    model_version: str
    variant: str
    reason: Basis
    page: int
    """From 1."""
    next_page: int | None = None
    """None: this is the last one."""


class ItemList(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Items that are like one, or popular with all, best first."""

    items: list[RecommendedItem]
    model_version: str
    variant: str
    reason: Basis
    item: str | None = None
    """The one that the others are like."""


class GivenRating(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody without a profile thinks of an item."""

    item: Id
    rating: Rating


class AnonymousRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/recommendations`. Ratings of items that the model does not know are passed over."""

    ratings: Annotated[list[GivenRating], msgspec.Meta(max_length=MAX_RATINGS)]
    k: K = 10
    page: Annotated[int, msgspec.Meta(ge=1, le=MAX_DEPTH)] = 1
    exclude: Annotated[list[Id], msgspec.Meta(max_length=MAX_DEPTH)] = []
    genre: str | None = None
    explain: bool = False
    variant: str | None = None


class RatingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/ratings`. `key` names this request: sent again under it, it changes nothing."""

    user: Id
    item: Id
    rating: Rating
    key: Id
    time_us: TimeUs | None = None
    """When, epoch microseconds; None: now."""


class RatingAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a rating: it is in the hub, and in the user's profile unless a later one was there."""

    user: str
    item: str
    rating: float
    time_us: int
    key: str
    changed: bool
    """False: the rating came before under this key, or a later one counts."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A user and an item."""

    user: Id
    item: Id


class PredictionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/predictions`: either `pairs`, or `user` for the best of all items not rated yet."""

    pairs: Annotated[list[Pair], msgspec.Meta(min_length=1, max_length=MAX_PAIRS)] | None = None
    user: Id | None = None
    k: K = 10
    """With `user`: how many items."""
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """From which probability on `likes` is true; None: the model's own."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """Probability that the user likes the item (rates it 4 or more)."""

    user: str
    item: str
    title: str
    probability: float
    likes: bool
    known: bool
    """False: the model knows the user or the item not, and answers for an average one."""


class Predictions(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a request for predictions: pairs in their order, or best first."""

    predictions: list[Prediction]
    threshold: float
    model_version: str
    variant: str
    reason: Basis


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `DELETE /api/users/{id}`: ratings until `time_us` are used no more."""

    user: str
    time_us: int
    ratings: int
    """How many the profile held."""


class VariantCount(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that a variant gave, by reason."""

    variant: str
    model: str
    share: float
    """Of the users, 0 to 1."""
    answers: dict[str, int]


class VariantCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `GET /api/variants`, in the order of the setting."""

    variants: list[VariantCount]
