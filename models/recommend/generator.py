"""Ratings with a known structure, in any size: for tests, the demonstration and measurements.

Items belong to one genre each and have a popularity with a long tail; a user likes one genre, minds a second less,
and the rest least. Who rates what, and how, follows from that alone, so it is known what a recommender should find.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.errors import BadInput
from models.recommend.ratings import Int64, Ratings

_GENRES: Final = (
    "drama",
    "comedy",
    "thriller",
    "romance",
    "adventure",
    "mystery",
    "war",
    "western",
    "music",
    "crime",
)
# Chances that a rating falls on the user's first, second and any genre.
_TASTE: Final = (0.6, 0.25, 0.15)
_LIKING: Final = (0.9, 0.4, -0.6)
_MEAN: Final = 3.3
_POPULARITY_EXPONENT: Final = 0.8
_FIRST_S: Final = 1_700_000_000
_JOINED_WITHIN_S: Final = 600 * 86_400
_DAYS_BETWEEN: Final = 0.5
# Pairs drawn per rating wanted: some come twice.
_SURPLUS: Final = 4


@dataclass(frozen=True, slots=True)
class Generated:
    """Ratings with the structure they came from. Ids are "1".."n", so place p has the id p + 1."""

    ratings: Ratings
    titles: list[str]
    genres: list[str]
    """Of each item, by place."""
    taste: Int64
    """(n_users,): number of the genre of each user's favourite."""
    genre_of_item: Int64
    """(n_items,): the same of each item."""


def generate(users: int, items: int, ratings: int, *, seed: int = 0) -> Generated:
    """About `ratings` ratings of 1..5, at most one per (user, item), by time. Equal arguments: equal ratings.

    A few percent fewer come out where users are made to rate most of a genre. Raises BadInput if the numbers do not
    fit: at least one user, ten items, and at most a fifth of all pairs.
    """
    if users < 1 or items < len(_GENRES) or not 1 <= ratings <= users * items / 5:
        raise BadInput(
            f"generator: expected users, at least {len(_GENRES)} items and at most users x items / 5 ratings, got "
            f"{users} users, {items} items, {ratings} ratings"
        )
    rng = np.random.default_rng(seed)
    genre_of_item = np.arange(items) % len(_GENRES)
    taste = rng.permuted(np.tile(np.arange(len(_GENRES)), (users, 1)), axis=1)[:, :2]
    user, item = _pairs(rng, users, items, ratings, taste)
    kind = np.where(genre_of_item[item] == taste[user, 0], 0, np.where(genre_of_item[item] == taste[user, 1], 1, 2))
    value = (
        _MEAN
        + np.array(_LIKING)[kind]
        + rng.normal(0, 0.4, items)[item]
        + rng.normal(0, 0.3, users)[user]
        + rng.normal(0, 0.7, len(user))
    )
    time_s = _times(rng, user, users)
    order = np.argsort(time_s, kind="stable")
    return Generated(
        Ratings(
            [str(number + 1) for number in range(users)],
            [str(number + 1) for number in range(items)],
            user[order].astype(np.int32),
            item[order].astype(np.int32),
            np.clip(np.rint(value), 1, 5).astype(np.float32)[order],
            time_s[order],
        ),
        titles=[f"A {_GENRES[genre]} film, no. {number + 1}" for number, genre in enumerate(genre_of_item.tolist())],
        genres=[_GENRES[genre] for genre in genre_of_item],
        taste=taste[:, 0],
        genre_of_item=genre_of_item,
    )


def _pairs(rng: np.random.Generator, users: int, items: int, ratings: int, taste: Int64) -> tuple[Int64, Int64]:
    """Distinct (user, item) places, at most as many per user as a long-tailed activity gives."""
    activity = rng.lognormal(0, 0.9, users)
    wanted = np.minimum(np.ceil(activity / activity.sum() * ratings), items // 4 + 1).astype(np.int64)
    user = np.repeat(np.arange(users), wanted * _SURPLUS)
    which = rng.choice(3, size=len(user), p=_TASTE)
    genre = np.where(which < 2, taste[user, np.minimum(which, 1)], rng.integers(0, len(_GENRES), len(user)))
    # Items of genre g are g, g + 10, g + 20 ...; the popularity of the r-th of them falls with r.
    per_genre = items // len(_GENRES)
    falling = np.cumsum(1 / np.arange(1, per_genre + 1) ** _POPULARITY_EXPONENT)
    rank = np.searchsorted(falling, rng.random(len(user)) * falling[-1])
    item = np.minimum(rank, per_genre - 1) * len(_GENRES) + genre
    _, first = np.unique(user * items + item, return_index=True)
    first.sort()
    # Of each user's distinct pairs, the first so many as wanted.
    user, item = user[first], item[first]
    begins = np.searchsorted(user, np.arange(users))
    kept = np.arange(len(user)) - begins[user] < wanted[user]
    return user[kept], item[kept]


def _times(rng: np.random.Generator, user: Int64, users: int) -> Int64:
    """Epoch seconds: users join over 600 days, and rate every half day on average from then on."""
    joined = rng.integers(0, _JOINED_WITHIN_S, users)
    gaps = np.cumsum(rng.exponential(_DAYS_BETWEEN * 86_400, len(user)))
    begins = np.searchsorted(user, np.arange(users))
    since = gaps - gaps[np.minimum(begins, len(gaps) - 1)][user]
    times: Int64 = (_FIRST_S + joined[user] + since).astype(np.int64)
    return times
