"""Uploads of ratings, and which of them later runs train on.

ratings-checked/<name>/<run>.parquet   an upload that run <run> found sound, create-only
ratings/<name>/<run>.parquet           the same, since that run was promoted; of one name the latest is trained on

So a file that makes the lists worse takes part in its own run alone, until somebody asks for it again.
"""

import io
import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from models.contracts.runs import Run, RunKind, Stage
from models.errors import AlreadyExists, BadInput, NotFound, TryLater
from models.ports import Blob, BlobStore
from models.recommend.ratings import Ratings
from models.runs import Runs
from training.recommend.checks import check_histories, check_ratings
from training.recommend.readers import RatingColumns, read_ratings

log = logging.getLogger(__name__)

CHECKED: Final = "ratings-checked/"
KEPT: Final = "ratings/"
COLUMNS: Final = "columns"
"""Metadata of an upload: columns of a CSV or Parquet file, `user=...,item=...,rating=...,ts=...`, percent-encoded."""


def name_of(upload: str) -> str:
    """The name under which the ratings of blob `upload` are kept."""
    return upload.partition("/")[2]


def check_upload(blobs: BlobStore, upload: Blob, run: str, now_s: float) -> Ratings:
    """The ratings of an upload, once they are stored as checked by `run`. Checking again is harmless.

    Raises BadInput for what is not ratings, repeats a (user, item) pair, lies outside the scale of the API, or is
    from the future of `now_s` (epoch seconds).
    """
    name = name_of(upload.info.name)
    called = name.rpartition("/")[2]
    named = unquote(upload.info.metadata.get(COLUMNS, ""))
    ratings = read_ratings(upload.data, name=called, columns=RatingColumns.parse(named) if named else None)
    check_ratings(ratings, called)
    check_histories(ratings, name, now_s)
    _create(blobs, _blob(CHECKED, name, run), ratings)
    return ratings


def checked_before(blobs: BlobStore, upload: str, run: str) -> Ratings | None:
    """What `check_upload` stored of blob `upload`; None if it has not, or has not yet."""
    try:
        return _read(blobs, _blob(CHECKED, name_of(upload), run))
    except NotFound:
        return None


def keep(blobs: BlobStore, uploads: Mapping[str, Ratings], run: str) -> None:
    """Let later trainings take in the uploads (by name) of `run`, which was promoted, in place of earlier ones under
    their names. Doing it again is harmless.
    """
    for name, ratings in uploads.items():
        _create(blobs, _blob(KEPT, name, run), ratings)


def kept(blobs: BlobStore, instead: Mapping[str, Ratings]) -> list[Ratings]:
    """Uploads to train on: of each name the latest that was kept, the oldest first, then those that stand `instead`
    of what is kept under their names.
    """
    latest = {name: blob for name, blob in _latest(blobs).items() if name not in instead}
    in_time = sorted(latest.values(), key=_run_of)
    return [*(_read(blobs, blob) for blob in in_time), *instead.values()]


def withdraw(blobs: BlobStore, runs: Runs, id: str) -> list[Ratings]:
    """Take the uploads of run `id`, which was promoted, out of later training; what they were.

    An earlier upload under the same name counts again. Safe to repeat. Raises NotFound, BadInput for another run, and
    TryLater while any run trains: it may have read the uploads, and write them into histories at its end.
    """
    busy = [each.id for each in runs.unfinished() if each.kind == RunKind.TRAIN]
    if busy:
        raise TryLater(f"run {busy[-1]} is training, perhaps on this upload: withdraw it when that one has ended")
    run = runs.get(id)
    names = [info.name for info in blobs.list(KEPT) if _run_of(info.name) == id]
    if not names and run.stage == Stage.PROMOTED:
        raise BadInput(f"run {id} brought no upload: there is nothing to withdraw")
    runs.withdraw(id, "its upload is left out of later training")
    for name in names:
        # There already, unless a command brought it; what was withdrawn can be read again if this is repeated.
        _create(blobs, _blob(CHECKED, _name_of_kept(name), id), _read(blobs, name))
        blobs.delete(name)
    return [_read(blobs, info.name) for info in blobs.list(CHECKED) if _run_of(info.name) == id]


def standing(blobs: BlobStore, run: Run) -> str:
    """Whether later runs train on the uploads of a run of training, in words; "" if it brought none or goes on."""
    if run.stage in (Stage.REFUSED, Stage.FAILED, Stage.WITHDRAWN) and (run.source or run.retries):
        return f"left out of later training; penstock runs retry {run.id} trains on it again"
    if run.stage != Stage.PROMOTED:
        return ""
    latest = _latest(blobs)
    return "; ".join(
        f"{name}: trained on by later runs"
        if latest[name] == info.name
        else f"{name}: replaced by that of run {_run_of(latest[name])}"
        for info in blobs.list(KEPT)
        if _run_of(info.name) == run.id and (name := _name_of_kept(info.name))
    )


def encode_ratings(ratings: Ratings) -> bytes:
    """Parquet bytes with columns user, item, rating and ts (epoch seconds), as `read_ratings` reads them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "user": pa.DictionaryArray.from_arrays(pa.array(ratings.user), pa.array(ratings.users, pa.string())),
            "item": pa.DictionaryArray.from_arrays(pa.array(ratings.item), pa.array(ratings.items, pa.string())),
            "rating": ratings.value,
            "ts": ratings.time_s,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _latest(blobs: BlobStore) -> dict[str, str]:
    """The latest blob that was kept of each name: runs are in order of time within a folder."""
    return {_name_of_kept(info.name): info.name for info in blobs.list(KEPT)}


def _blob(prefix: str, name: str, run: str) -> str:
    return f"{prefix}{name}/{run}.parquet"


def _run_of(blob: str) -> str:
    return blob.rpartition("/")[2].removesuffix(".parquet")


def _name_of_kept(blob: str) -> str:
    return blob.removeprefix(KEPT).rpartition("/")[0]


def _read(blobs: BlobStore, blob: str) -> Ratings:
    return read_ratings(blobs.get(blob).data, name=blob)


def _create(blobs: BlobStore, blob: str, ratings: Ratings) -> None:
    try:
        blobs.create(blob, encode_ratings(ratings))
    except AlreadyExists:
        log.info("%s was written before", blob)
