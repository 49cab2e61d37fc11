"""Recommended items: for a user with a profile, or for ratings that come with the request.

One answer is computed from one loaded version, whatever is promoted meanwhile. Reading changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from functions.parameters import checked_id
from functions.recommend.services import RecommendServices
from functions.recommend.variants import Share
from functions.recommend.wishes import Wish, decode_body
from models.contracts.recommendations import (
    MAX_DEPTH,
    AnonymousRequest,
    Basis,
    Because,
    Recommendations,
    RecommendedItem,
)
from models.errors import BadInput, Damaged
from models.inference.recommender import Recommender
from models.inference.topk import TopK
from models.ports import StateStore
from models.recommend.profile import (
    CONTAINER,
    PROFILE_ID,
    Profile,
    decode_profile,
    user_partition,
    vector_of,
)
from models.recommend.ratings import Float32, Int64

_REASONS_SHOWN: Final = 3
_NONE: Final = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Taste:
    """What is known of who asks: the rated items that the version knows, and a vector if there is one."""

    places: Int64
    ratings: Float32
    vector: Float32 | None
    basis: Basis


def recommend(user: str | None, query: Mapping[str, str], here: RecommendServices) -> Recommendations:
    """Items for a user that are not among those rated; popular ones for a user who is not known.

    Raises BadInput for a bad id or parameter, TryLater while no model is live.
    """
    user = checked_id(user, "user")
    wish = Wish.of_query(query)
    share = here.variants.choose(user, wish.variant)
    model = here.variants.recommender(share)
    profile = read_profile(here.state, user)
    taste = _taste(model, {item: rated.rating for item, rated in profile.ratings.items()}, profile)
    return _list(model, share, taste, wish, here)


def recommend_for(body: bytes, here: RecommendServices) -> Recommendations:
    """Items for the ratings of an AnonymousRequest, by fold-in; nothing is stored. Raises as `recommend`."""
    request = decode_body(body, AnonymousRequest)
    wish = Wish.of_body(request)
    ratings = {given.item: given.rating for given in request.ratings}
    if len(ratings) < len(request.ratings):
        raise BadInput("ratings: expected each item once")
    share = here.variants.choose("\n".join(sorted(ratings)), wish.variant)
    model = here.variants.recommender(share)
    return _list(model, share, _taste(model, ratings, None), wish, here)


def read_profile(state: StateStore, user: str) -> Profile:
    """The user's profile; an empty one if there is none. Raises Damaged if it cannot be read."""
    document = state.get(CONTAINER, user_partition(user), PROFILE_ID)
    try:
        return decode_profile(document.body) if document else Profile()
    except BadInput as error:  # not the caller's fault
        raise Damaged(f"state store, user {user!r}: {error}") from error


def _taste(model: Recommender, ratings: Mapping[str, float], profile: Profile | None) -> _Taste:
    places, values = model.known(ratings)
    if not len(places):
        return _Taste(places, values, None, Basis.POPULAR)
    stored = None if profile is None else vector_of(profile, model.model, model.version, model.size)
    if stored is not None:
        return _Taste(places, values, stored, Basis.PERSONAL)
    return _Taste(places, values, model.fold.user(places, values), Basis.FOLD_IN)


def _list(model: Recommender, share: Share, taste: _Taste, wish: Wish, here: RecommendServices) -> Recommendations:
    left_out = masked(model, wish, taste.places)
    # One more than asked for says whether there is another page.
    through = wish.k * wish.page
    if taste.vector is None:
        best = model.popular(left_out, through + 1)
    else:
        best = model.top(taste.vector, left_out, through + 1)
    shown = TopK(best.places[through - wish.k : through], best.scores[through - wish.k : through])
    here.counter.count(share, taste.basis)
    return Recommendations(
        items=described(model, shown, _because(model, taste, shown.places) if wish.explain else None),
        model_version=model.version,
        variant=share.variant,
        reason=taste.basis,
        page=wish.page,
        next_page=wish.page + 1 if len(best.places) > through and through + wish.k <= MAX_DEPTH else None,
    )


def masked(model: Recommender, wish: Wish, rated: Int64 = _NONE) -> Int64:
    """Places of the items that must not be in an answer: rated ones, excluded ones, and those of other genres."""
    masks = [rated, model.places(wish.exclude)]
    if wish.genre is not None:
        masks.append(model.outside(wish.genre))
    return np.concatenate(masks)


def described(model: Recommender, best: TopK, because: list[list[Because]] | None = None) -> list[RecommendedItem]:
    """Items with what the catalogue says of them."""
    catalogue = model.catalogue
    return [
        RecommendedItem(
            item=catalogue.items[place],
            score=score,
            title=catalogue.titles[place],
            genres=catalogue.genres[place],
            because=because[i] if because else None,
        )
        for i, (place, score) in enumerate(zip(best.places.tolist(), best.scores.tolist(), strict=True))
    ]


def _because(model: Recommender, taste: _Taste, chosen: Int64) -> list[list[Because]]:
    """Per chosen item the rated ones that add most to its score; none for popular items."""
    if taste.vector is None or not len(chosen):
        return [[] for _ in chosen]
    shares = model.fold.contributions(taste.places, taste.ratings, chosen)
    order = np.argsort(-shares, axis=0, kind="stable")[:_REASONS_SHOWN]
    catalogue = model.catalogue
    return [
        [
            Because(
                item=catalogue.items[taste.places[row]],
                title=catalogue.titles[taste.places[row]],
                share=float(shares[row, column]),
            )
            for row in order[:, column].tolist()
            if shares[row, column] > 0
        ]
        for column in range(len(chosen))
    ]
