"""One version of an ALS recommender, loaded: what every answer is computed from, so that it is from one version."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import numpy as np

from models.errors import BadInput
from models.inference.foldin import FoldIn
from models.inference.search import open_search
from models.inference.topk import TopK, best_of
from models.manifest import Manifest
from models.recommend.bundle import AlsBundle, decode_bundle
from models.recommend.equations import Equations
from models.recommend.ratings import Float32, Int64
from models.registry import Registry

_GENRES_SHOWN: Final = 30


class Recommender:
    """Immutable and safe to call from several threads. Items are given by place in the catalogue."""

    def __init__(self, manifest: Manifest, bundle: AlsBundle) -> None:
        """Raises ModelRefused if the graphs or the search cannot be used."""
        self.model = manifest.model
        self.version = manifest.version
        self.catalogue = bundle.catalogue
        self.factors = bundle.factors
        self.fold = FoldIn(bundle.foldin, bundle.factors, Equations.of(manifest.parameters))
        self._search = open_search(manifest.parameters, bundle)
        self._place = {item: place for place, item in enumerate(bundle.catalogue.items)}
        # Most ratings first, equal numbers by place.
        self._popular: Int64 = np.argsort(-bundle.catalogue.ratings, kind="stable").astype(np.int64)
        self._lengths: Float32 = np.maximum(np.linalg.norm(bundle.factors, axis=1), np.float32(1e-12))
        self._genres = _by_genre(bundle.catalogue.genres)
        self._outside = lru_cache(maxsize=64)(self._places_outside)

    def __len__(self) -> int:
        return len(self.catalogue)

    @property
    def size(self) -> int:
        """Components of a user vector."""
        return int(self.factors.shape[1])

    def place(self, item: str) -> int | None:
        """The item's place, or None if this version does not know it."""
        return self._place.get(item)

    def places(self, items: Iterable[str]) -> Int64:
        """Places of those items that this version knows, in their order."""
        known = self._place
        return np.array([known[item] for item in items if item in known], dtype=np.int64)

    def known(self, ratings: Mapping[str, float]) -> tuple[Int64, Float32]:
        """Places and ratings of those rated items that this version knows: (m,) each."""
        known = self._place
        pairs = [(known[item], rating) for item, rating in ratings.items() if item in known]
        if not pairs:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        places, values = zip(*pairs, strict=True)
        return np.array(places, dtype=np.int64), np.array(values, dtype=np.float32)

    def outside(self, genre: str) -> Int64:
        """Places of the items that are not of `genre`, in any case. Raises BadInput for an unknown one."""
        name = genre.casefold()
        if name not in self._genres:
            known = sorted(self._genres)
            more = f" and {len(known) - _GENRES_SHOWN} more" if len(known) > _GENRES_SHOWN else ""
            raise BadInput(
                f"genre: expected one of {', '.join(known[:_GENRES_SHOWN])}{more}, got {genre[:100]!r}"
                if known
                else f"genre: model {self.model} {self.version} knows no genres"
            )
        return self._outside(name)

    def top(self, user: Float32, masked: Int64, k: int) -> TopK:
        """The k best items for a user vector, places in `masked` left out."""
        return self._search.top(user, masked, k)

    def popular(self, masked: Int64, k: int) -> TopK:
        """The k items with most ratings in training, places in `masked` left out; the scores are those numbers."""
        # k + m of them hold k that are not masked.
        first = self._popular[: k + len(masked)]
        places = first[~np.isin(first, masked)][:k]
        return TopK(places, self.catalogue.ratings[places].astype(np.float32))

    def similar(self, place: int, masked: Int64, k: int) -> TopK:
        """The k items whose vectors point where that item's does: cosine, -1 to 1; the item itself is left out."""
        scores: Float32 = (self.factors @ self.factors[place]) / (self._lengths * self._lengths[place])
        return best_of(scores, np.append(masked, place), k)

    def _places_outside(self, genre: str) -> Int64:
        allowed = np.zeros(len(self), dtype=np.bool_)
        allowed[self._genres[genre]] = True
        return np.flatnonzero(~allowed)


def load_recommender(registry: Registry, version: str) -> Recommender:
    """The version, ready to answer. Raises NotFound, or ModelRefused with the reason."""
    manifest = registry.manifest(version)
    return Recommender(manifest, decode_bundle(manifest, lambda name: registry.file(manifest, name)))


def _by_genre(genres: list[list[str]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, names in enumerate(genres):
        for name in names:
            found.setdefault(name.casefold(), []).append(place)
    return found
