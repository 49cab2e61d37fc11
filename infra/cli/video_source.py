"""A film before it is sent: what its job would fail with is said now."""

from importlib.util import find_spec
from pathlib import Path

from models.contracts.film import Limits
from models.errors import BadInput
from models.filmlimits import check_bytes


def check_source(file: Path, limits: Limits) -> str:
    """Refuse a file that is no film, or beyond `limits`; the ending of the film that comes of it. Raises BadInput.

    Looks at headers and the first frame, as the worker's plan does first. Without PyAV here it sees the file's size
    alone, and gives "".
    """
    try:
        check_bytes(file.stat().st_size, limits)
        return _ending(file, limits) if find_spec("av") else ""
    except BadInput as error:
        raise BadInput(f"{file.name}: {error}") from error


def _ending(file: Path, limits: Limits) -> str:
    from video.plan import container_of
    from video.probe import probe

    container, _ = container_of(file, probe(file, limits))
    return f".{container}"
