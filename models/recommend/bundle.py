"""The registered form of an ALS recommender: files of a version with manifest kind "als".

| file | holds |
|---|---|
| `items.npy` | item factors, float32, (n, f) |
| `items.parquet` | item, title, genres, ratings: row = place, in the order of `in_id_order` |
| `topk.onnx` | the k best items of a user vector, masked ones left out (models.inference.topk) |
| `foldin.onnx` | a user vector from ratings (models.inference.foldin) |
| `index.bin` | of large catalogues: the approximate index that `parameters["search"]` names |

The graphs take all weights as inputs, so they are the same for every version; `training.recommend.export` makes them.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from models.errors import BadInput, ModelRefused
from models.manifest import Manifest
from models.recommend.catalogue import Catalogue, decode_catalogue, encode_catalogue
from models.recommend.equations import Equations
from models.recommend.ratings import Float32, in_id_order

KIND: Final = "als"
FACTORS_FILE: Final = "items.npy"
CATALOGUE_FILE: Final = "items.parquet"
TOPK_FILE: Final = "topk.onnx"
FOLDIN_FILE: Final = "foldin.onnx"
INDEX_FILE: Final = "index.bin"
EXACT: Final = "exact"


@dataclass(frozen=True, slots=True)
class AlsBundle:
    """What a version holds. `factors`: float32, (n, f), finite; row i belongs to `catalogue.items[i]`."""

    factors: Float32
    catalogue: Catalogue
    topk: bytes
    foldin: bytes
    index: bytes | None = None
    """None: the catalogue is searched exactly."""

    def trained(self) -> "AlsBundle":
        """Without the items that no training rating names: their vector says nothing. The index must not be made yet.

        Raises ModelRefused if there already is one, or no item is left.
        """
        if self.index is not None:
            raise ModelRefused("bundle: leave untrained items out before the index is made")
        rated = np.flatnonzero(self.catalogue.ratings > 0)
        if not len(rated):
            raise ModelRefused("bundle: no item has a training rating")
        return replace(self, factors=self.factors[rated], catalogue=self.catalogue.at(rated))


def encode_bundle(bundle: AlsBundle) -> dict[str, bytes]:
    """The files of a version. Raises ModelRefused if factors and catalogue do not fit each other."""
    _check_bundle(bundle)
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(bundle.factors), allow_pickle=False)
    files = {
        FACTORS_FILE: buffer.getvalue(),
        CATALOGUE_FILE: encode_catalogue(bundle.catalogue),
        TOPK_FILE: bundle.topk,
        FOLDIN_FILE: bundle.foldin,
    }
    return files if bundle.index is None else {**files, INDEX_FILE: bundle.index}


def decode_bundle(manifest: Manifest, file: Callable[[str], bytes]) -> AlsBundle:
    """The bundle of a version whose files `file` gives by name. Raises ModelRefused with the reason."""
    with reading(manifest, KIND):
        Equations.of(manifest.parameters)
        bundle = AlsBundle(
            factors=_decode_factors(file(FACTORS_FILE)),
            catalogue=decode_catalogue(file(CATALOGUE_FILE)),
            topk=file(TOPK_FILE),
            foldin=file(FOLDIN_FILE),
            index=None if search_of(manifest.parameters) == EXACT else file(INDEX_FILE),
        )
        _check_bundle(bundle)
        return bundle


@contextmanager
def reading(manifest: Manifest, kind: str) -> Iterator[None]:
    """Within the block, what is wrong with a version's files comes out as ModelRefused that names the version.

    So does a version of another kind, before the block.
    """
    where = f"model {manifest.model} {manifest.version}"
    if manifest.kind != kind:
        raise ModelRefused(f"{where}: expected kind {kind!r}, got {manifest.kind!r}")
    try:
        yield
    except BadInput as error:
        raise ModelRefused(f"{where}: {error}") from error


def search_of(parameters: Mapping[str, int | float | str]) -> str:
    """How a version's catalogue is searched: "exact", or the library of its index."""
    return str(parameters.get("search", EXACT))


def _decode_factors(data: bytes) -> Float32:
    """Factors of an `items.npy`: float32, (n, f). Raises ModelRefused."""
    try:
        stored = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ModelRefused(f"{FACTORS_FILE} cannot be read: {error}") from error
    if not isinstance(stored, np.ndarray) or stored.dtype != np.float32 or stored.ndim != 2:
        found = f"{stored.dtype} {stored.shape}" if isinstance(stored, np.ndarray) else type(stored).__name__
        raise ModelRefused(f"{FACTORS_FILE}: expected float32 (n, f), got {found}")
    return np.ascontiguousarray(stored)


def _check_bundle(bundle: AlsBundle) -> None:
    """Raises ModelRefused if the version would answer nonsense."""
    n, items = len(bundle.factors), bundle.catalogue.items
    if not n or not bundle.factors.shape[1]:
        raise ModelRefused(f"{FACTORS_FILE}: expected at least one item and one factor, got {bundle.factors.shape}")
    if n != len(items):
        raise ModelRefused(f"{FACTORS_FILE} has {n} rows, {CATALOGUE_FILE} {len(items)}")
    if not np.isfinite(bundle.factors).all():
        raise ModelRefused(f"{FACTORS_FILE}: a factor is not finite")
    if not bundle.factors.any():
        raise ModelRefused(f"{FACTORS_FILE}: all factors are 0")
    if items != in_id_order(items):
        raise ModelRefused(f"{CATALOGUE_FILE}: expected distinct items, lowest id first")
