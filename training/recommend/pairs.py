"""Which (user, item) pairs a version was trained on: versions are compared on those that neither has seen."""

import io
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import ModelRefused
from models.manifest import Manifest
from models.recommend.ratings import Ratings
from models.registry import Registry
from training.recommend.splits import row_hash

PAIRS_FILE: Final = "pairs.npy"
"""Sorted 32-bit hashes: four bytes a rating. With 20 million one pair in 200 is taken for one of them, which only
leaves it out of a comparison."""
_SEED: Final = 0


def encode_pairs(train: Ratings) -> bytes:
    """The file of a version trained on `train`."""
    buffer = io.BytesIO()
    np.save(buffer, np.unique(_hashes(train)), allow_pickle=False)
    return buffer.getvalue()


def trained_on(registry: Registry, manifest: Manifest, rows: Ratings) -> npt.NDArray[np.bool_]:
    """Which rows the version was trained on: bool, (n,); none, if it does not say. Raises ModelRefused if damaged."""
    if PAIRS_FILE not in manifest.files:
        return np.zeros(len(rows), dtype=np.bool_)
    try:
        pairs = np.load(io.BytesIO(registry.file(manifest, PAIRS_FILE)), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ModelRefused(f"{PAIRS_FILE} cannot be read: {error}") from error
    return np.isin(_hashes(rows), pairs)


def _hashes(ratings: Ratings) -> npt.NDArray[np.uint32]:
    return (row_hash(ratings, _SEED) >> np.uint64(32)).astype(np.uint32)
