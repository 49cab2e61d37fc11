"""Where a film or a picture is to be written: looked at before the work, for whoever writes it."""

import tempfile
from pathlib import Path
from typing import Final

from models.errors import BadInput

ENDINGS: Final = (".mp4", ".mov", ".mkv")
"""Of all films that are made here."""


def check_out(out: Path, *, force: bool, source: Path | None = None, ending: str = "") -> None:
    """Refuse a file or folder to which a film could not be written; `ending` is that of the film, "" while not known.

    What is there is replaced with `force` only, `source` not even then. Raises BadInput.
    """
    if not _is_folder(out):
        _check_ending(out, ending)
    check_place(out, force=force, source=source)


def check_place(out: Path, *, force: bool, source: Path | None = None, what: str = "film") -> None:
    """The same for a file of any ending, which shall hold `what`, and for a folder. Raises BadInput."""
    try:
        if not out.is_dir():
            if out.exists() and source is not None and out.samefile(source):
                raise BadInput(f"{out}: is the source; write the {what} to another file")
            if out.exists() and not force:
                raise BadInput(f"{out}: is there already; write to another file, or say --force to replace it")
            if not out.parent.is_dir():
                raise BadInput(f"{out.parent}: no such folder to write the {what} to")
        # As it will be: into a new file beside its place.
        with tempfile.TemporaryFile(dir=out if out.is_dir() else out.parent):
            pass
    except OSError as error:
        raise BadInput(f"{out}: cannot be written: {error.strerror}") from error


def _is_folder(out: Path) -> bool:
    try:
        return out.is_dir()
    except OSError:  # a folder that may not be entered: what follows says so
        return False


def _check_ending(out: Path, ending: str) -> None:
    if ending and out.suffix.lower() != ending:
        raise BadInput(f"{out.name}: this film becomes a {ending} file; write it to {out.with_suffix(ending).name}")
    if out.suffix.lower() not in ENDINGS:
        raise BadInput(f"{out.name}: expected a name that ends in {' or '.join(ENDINGS)}, or a folder that is there")
