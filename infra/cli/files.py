"""Files that a command reads: a path, or `blob://CONTAINER/PATH` in the storage account that the settings name."""

import atexit
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

import typer

from infra.cli import context
from models.errors import BadInput, ConfigurationError

BLOB: Final = "blob://"
METAVAR: Final = f"FILE|{BLOB}CONTAINER/PATH"
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def readable(source: str) -> Path:
    """The file that `source` names. A blob is downloaded, under its own name, and lies there until this process ends.

    For `typer.Option(parser=readable)`. Raises NotFound for a blob that is missing, ConfigurationError where no
    storage account is known, BadInput for another kind of URL.
    """
    source = str(source)  # a default comes as the Path it is
    if source.startswith(BLOB):
        return _downloaded(source)
    if _URL.match(source):
        raise BadInput(
            f"{source}: expected a path or {BLOB}CONTAINER/PATH; other URLs are read by Spark on a cluster alone: "
            "spark-submit training/recommend/spark/job.py --ratings URL"
        )
    path = Path(source)
    if not path.is_file():
        raise typer.BadParameter(f"file {source!r} does not exist" if not path.exists() else f"{source!r} is no file")
    return path


def _downloaded(source: str) -> Path:
    name = source.removeprefix(BLOB)
    file_name = name.rpartition("/")[2]
    if not file_name:
        raise BadInput(f"{source}: expected {BLOB}CONTAINER/PATH")
    try:
        blobs = context.open_blobs(context.load_settings())
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}, or set DataStorage to a connection string") from error
    try:
        data = blobs.get(name).data
    finally:
        blobs.close()
    folder = Path(tempfile.mkdtemp(prefix="penstock-blob-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / file_name
    path.write_bytes(data)
    return path
