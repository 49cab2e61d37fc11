"""Where a command writes the film of a job: looked at before the film is asked for, and again when it is there."""

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.cli import context
from models.contracts.videos import VideoStatus
from models.errors import BadInput, PenstockError

if TYPE_CHECKING:
    from infra.settings import Settings

ENDINGS: Final = (".mp4", ".mov", ".mkv")
"""Of all films that jobs make."""


class NotSaved(PenstockError):
    """A film is made and could not be written to its place; the message names the command that fetches it."""


def check_out(out: Path, *, force: bool, source: Path | None = None, ending: str = "") -> None:
    """Refuse a file or folder to which a film could not be written; `ending` is that of the film, "" while not known.

    What is there is replaced with `force` only, `source` not even then. Raises BadInput.
    """
    try:
        if not out.is_dir():
            _check_ending(out, ending)
            if out.exists() and source is not None and out.samefile(source):
                raise BadInput(f"{out}: is the source; write the film to another file")
            if out.exists() and not force:
                raise BadInput(f"{out}: is there already; write to another file, or say --force to replace it")
            if not out.parent.is_dir():
                raise BadInput(f"{out.parent}: no such folder to write the film to")
        # As the film will be: into a new file beside its place.
        with tempfile.TemporaryFile(dir=out if out.is_dir() else out.parent):
            pass
    except OSError as error:
        raise BadInput(f"{out}: cannot be written: {error.strerror}") from error


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


def _check_ending(out: Path, ending: str) -> None:
    if ending and out.suffix.lower() != ending:
        raise BadInput(f"{out.name}: this film becomes a {ending} file; write it to {out.with_suffix(ending).name}")
    if out.suffix.lower() not in ENDINGS:
        raise BadInput(f"{out.name}: expected a name that ends in {' or '.join(ENDINGS)}, or a folder that is there")
