"""The registered form of a factorization machine: files of a version with manifest kind "fm".

| file | holds |
|---|---|
| `fm.onnx` | inputs `user`, `item`: places, int64 (n,), -1 for an unknown id; output `probability`: float32 (n,) |
| `users.parquet` | user: row = place |
| `items.parquet` | item, title, genres, ratings: row = place (models.recommend.catalogue) |

`parameters["threshold"]` is the probability from which on the answer is yes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from models.errors import BadInput, ModelRefused
from models.manifest import Manifest
from models.recommend.bundle import CATALOGUE_FILE, reading
from models.recommend.catalogue import Catalogue, decode_catalogue, encode_catalogue
from models.recommend.ratings import in_id_order
from models.tables import read_parquet, text_column, write_parquet

KIND: Final = "fm"
GRAPH_FILE: Final = "fm.onnx"
USERS_FILE: Final = "users.parquet"


@dataclass(frozen=True, slots=True)
class FmBundle:
    """What a version holds. Users and items are distinct ids in the order of `in_id_order`."""

    graph: bytes
    users: list[str]
    catalogue: Catalogue


def encode_fm(bundle: FmBundle) -> dict[str, bytes]:
    """The files of a version. Raises ModelRefused if ids are doubled or out of order."""
    _check(bundle)
    return {
        GRAPH_FILE: bundle.graph,
        USERS_FILE: write_parquet({"user": text_column(bundle.users)}, {}),
        CATALOGUE_FILE: encode_catalogue(bundle.catalogue),
    }


def decode_fm(manifest: Manifest, file: Callable[[str], bytes]) -> FmBundle:
    """The bundle of a version whose files `file` gives by name. Raises ModelRefused with the reason."""
    with reading(manifest, KIND):
        threshold_of(manifest)
        bundle = FmBundle(file(GRAPH_FILE), _decode_users(file(USERS_FILE)), decode_catalogue(file(CATALOGUE_FILE)))
        _check(bundle)
        return bundle


def threshold_of(manifest: Manifest) -> float:
    """The version's threshold, 0 to 1. Raises ModelRefused if it has none."""
    threshold = manifest.parameters.get("threshold")
    if isinstance(threshold, str) or threshold is None or not 0 <= threshold <= 1:
        raise ModelRefused(f"parameter threshold: expected a probability, got {threshold!r}")
    return float(threshold)


def _decode_users(data: bytes) -> list[str]:
    import pyarrow as pa

    try:
        users: list[str] = read_parquet(data)["user"].cast(pa.string()).to_pylist()
    except (BadInput, pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        raise ModelRefused(f"{USERS_FILE}: expected Parquet with a column user ({error})") from error
    if None in users:
        raise ModelRefused(f"{USERS_FILE}: a user is empty")
    return users


def _check(bundle: FmBundle) -> None:
    for name, ids in (("users", bundle.users), ("items", bundle.catalogue.items)):
        if not ids or ids != in_id_order(ids):
            raise ModelRefused(f"{name}: expected distinct ids, lowest first")
