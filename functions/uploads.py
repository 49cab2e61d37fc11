"""Uploads that a sweep comes upon, of ratings, lists of users and films alike."""

import logging
from collections.abc import Callable, Iterable

from models.errors import PenstockError
from models.ports import BlobInfo

log = logging.getLogger(__name__)


def start_each(found: Iterable[BlobInfo], start: Callable[[BlobInfo], bool]) -> tuple[int, int]:
    """How many uploads `start` began to work on, and how many it failed with: the log says why, the others go on."""
    started = failed = 0
    for info in found:
        try:
            started += start(info)
        except PenstockError:
            log.exception("upload %r cannot be looked after", info.name)
            failed += 1
    return started, failed
