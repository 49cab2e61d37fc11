"""Writes the film of a job to the place that a command names."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from infra.cli import context
from models.contracts.videos import VideoStatus
from models.errors import PenstockError
from video.out import check_out

if TYPE_CHECKING:
    from infra.settings import Settings


class NotSaved(PenstockError):
    """A film is made and could not be written to its place; the message names the command that fetches it."""


def save(settings: "Settings", status: VideoStatus, out: Path, *, force: bool) -> Path:
    """Write the film of a finished job to `out`, a file or a folder; where it is then. Raises NotSaved."""
    name = Path(status.result)
    target = out / name.name if out.is_dir() else out
    try:
        check_out(target, force=force, ending=name.suffix)
        download(settings, status, target)
    except (PenstockError, OSError) as error:
        fetch = f"penstock video status {status.id} --out {_free(target, name)}"
        raise NotSaved(f"{error}; the film is made and kept, this fetches it: {fetch}") from error
    return target


def _free(target: Path, name: Path) -> str:
    """As an argument: a place for the film `name` near the one that was wanted, where nothing else is lost."""
    places = (target.with_suffix(name.suffix), target.with_name(name.name))
    free = next((each for each in places if not each.exists()), None)
    # Under its own name there can be nothing but the same film.
    return shlex.quote(str(free)) if free else f"{shlex.quote(str(places[-1]))} --force"


def download(settings: "Settings", status: VideoStatus, out: Path) -> None:
    """Write the film of a finished job to the file `out`, whatever is there."""
    context.open_blobs(settings).download(status.result, out)
