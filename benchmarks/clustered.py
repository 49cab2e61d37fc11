"""Factors and users of a large catalogue with the structure of real ones: clusters, a long tail of norms, tastes."""

from dataclasses import dataclass

import numpy as np

from models.recommend.ratings import Float32, Int64

_TASTES = 3
_NOISE = 0.5


@dataclass(frozen=True)
class Crowd:
    """`items`: float32, (n, f). `users`: float32, (u, f). `seen`: places of what each user rated, near its tastes."""

    items: Float32
    users: Float32
    seen: list[Int64]


def clustered(n: int, factors: int, users: int, *, seed: int = 0) -> Crowd:
    """Items in about sqrt(n) clusters; a user likes three of them and has rated 20 to 300 items, most of those."""
    rng = np.random.default_rng(seed)
    clusters = max(8, int(np.sqrt(n)))
    # Spectra of trained factors fall off: the first directions carry most of the variance.
    spectrum = np.geomspace(1.0, 0.15, factors)
    centres = rng.normal(size=(clusters, factors)) * spectrum
    weights = rng.zipf(1.5, clusters).clip(max=1000).astype(float)
    owner = rng.choice(clusters, size=n, p=weights / weights.sum())
    items = centres[owner] + _NOISE * rng.normal(size=(n, factors)) * spectrum
    items *= rng.lognormal(0.0, 0.3, size=(n, 1))  # popular items are longer
    members = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[members], np.arange(clusters + 1))
    filled = np.flatnonzero(np.diff(starts) > 0)
    vectors = np.empty((users, factors), dtype=np.float32)
    seen: list[Int64] = []
    for user in range(users):
        liked = rng.choice(filled, size=_TASTES)
        share = rng.dirichlet(np.ones(_TASTES))
        vectors[user] = share @ centres[liked] + 0.2 * rng.normal(size=factors) * spectrum
        count = int(rng.integers(20, 301))
        near = np.concatenate(
            [
                members[rng.integers(starts[c], starts[c + 1], size=max(1, int(count * s * 0.8)))]
                for c, s in zip(liked, share, strict=True)
            ]
        )
        anywhere = rng.integers(n, size=max(1, count - len(near)))
        seen.append(np.unique(np.concatenate([near, anywhere])).astype(np.int64))
    return Crowd(items.astype(np.float32), vectors, seen)
