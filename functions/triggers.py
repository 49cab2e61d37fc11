"""What triggers have in common: where their messages and blobs lie, and what becomes of an invocation that fails."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import azure.functions as func

from models.errors import BadInput, TryLater

log = logging.getLogger(__name__)

STORAGE: Final = "DataStorage"
"""Name of the setting with the connection string."""


@contextmanager
def taking(msg: func.QueueMessage) -> Iterator[None]:
    """Within the block, errors are logged with what becomes of the message, and raised: the host acts on them."""
    try:
        yield
    except BadInput as error:
        log.error("message %s can never be used, it is bound for the poison queue: %s", msg.id, error)
        raise
    except TryLater as error:
        log.warning("message %s (try %s) comes again: %s", msg.id, msg.dequeue_count, error)
        raise


@contextmanager
def put_off(what: str) -> Iterator[None]:
    """Within the block of a timer, TryLater is only logged: the next time does it."""
    try:
        yield
    except TryLater as error:
        log.warning("%s put off to the next time: %s", what, error)
