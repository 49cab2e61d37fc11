"""Errors of Cosmos DB in the words of `models.errors`, told apart by the status of the answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from azure.core.exceptions import AzureError, HttpResponseError

from infra.azure.errors import first_line
from models.errors import BadInput, ConfigurationError, NotFound, PenstockError, Superseded, TryLater

# 408 no answer in time, 410 the partition moves, 424 another write of the batch failed, 429 too many requests,
# 449 a concurrent write: the same request may succeed later.
_TRANSIENT: Final = frozenset({408, 410, 424, 429, 449})
_RETRY_AFTER: Final = "x-ms-retry-after-ms"


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Within the block, errors of the SDK come out as ours; `what` names the thing acted on."""
    try:
        yield
    except AzureError as error:
        raise translate(error, what) from error


def translate(error: AzureError, what: str) -> PenstockError:
    """Our error for one of the SDK's. One without an answer is TryLater: it is unknown whether it took effect."""
    status = getattr(error, "status_code", None)
    message = f"{what}: {first_line(error)}"
    if not isinstance(error, HttpResponseError) or status is None:
        return TryLater(f"{message} ({type(error).__name__})")
    if status in (409, 412):
        return Superseded(message)
    if status == 404:
        return NotFound(message)
    if status in (401, 403):
        return ConfigurationError(f"{message}; check the key or the identity's role, and that the container exists")
    if status == 413:
        return BadInput(f"{what}: larger than Cosmos DB takes")
    if status in _TRANSIENT or not 400 <= status < 500:
        return TryLater(message, retry_after_s=_retry_after_s(error))
    return BadInput(message)


def _retry_after_s(error: HttpResponseError) -> float:
    headers = getattr(error, "headers", None) or getattr(error.response, "headers", None) or {}
    try:
        return max(0.1, float(headers.get(_RETRY_AFTER, 1000)) / 1000)
    except (TypeError, ValueError):
        return 1.0
