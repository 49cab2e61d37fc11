"""Ratings with a structure that a recommender finds at once: users of two tastes, each with items of their own."""

import numpy as np

from models.recommend.ratings import Ratings


def ratings(users: int = 60, items: int = 40, each: int = 15, *, seed: int = 0) -> Ratings:
    """`each` ratings by every user: even users like even items, odd ones odd items, with a few strays."""
    dice = np.random.default_rng(seed)
    user, item, value = [], [], []
    for one in range(users):
        own = np.arange(one % 2, items, 2)
        chosen = dice.choice(own, min(each, len(own)), replace=False)
        strays = dice.choice(np.arange(1 - one % 2, items, 2), 2, replace=False)
        for place in [*chosen, *strays]:
            user.append(str(one + 1))
            item.append(str(place + 1))
            value.append(5.0 if place % 2 == one % 2 else 2.0)
    return Ratings.of(user, item, value, 1_600_000_000 + np.arange(len(user)))


def csv(found: Ratings) -> bytes:
    """The ratings as a CSV file with a header."""
    rows = zip(found.user.tolist(), found.item.tolist(), found.value.tolist(), found.time_s.tolist(), strict=True)
    lines = (f"{found.users[u]},{found.items[i]},{value:g},{ts}\n" for u, i, value, ts in rows)
    return ("user,item,rating,ts\n" + "".join(lines)).encode()
