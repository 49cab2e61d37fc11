"""Azure's errors in the words of `models.errors`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    DeserializationError,
    HttpResponseError,
    IncompleteReadError,
    ODataV4Error,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ResourceNotModifiedError,
    ResponseNotReadError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
    StreamClosedError,
    StreamConsumedError,
    TooManyRedirectsError,
)

from models.errors import AlreadyExists, BadInput, ConfigurationError, NotFound, PenstockError, Superseded, TryLater

# No answer, or one that broke off: it is unknown whether the request took effect.
_NO_ANSWER: Final = frozenset(
    {
        ServiceRequestError,
        ServiceRequestTimeoutError,
        ServiceResponseError,
        ServiceResponseTimeoutError,
        IncompleteReadError,
        DecodeError,
        DeserializationError,
        ResponseNotReadError,
        StreamClosedError,
        StreamConsumedError,
        TooManyRedirectsError,
    }
)
# An answer, told apart by its status and storage error code.
_ANSWERED: Final = frozenset(
    {
        HttpResponseError,
        ClientAuthenticationError,
        ODataV4Error,
        ResourceExistsError,
        ResourceModifiedError,
        ResourceNotFoundError,
        ResourceNotModifiedError,
    }
)
MAPPED: Final = _NO_ANSWER | _ANSWERED

_TAKEN: Final = frozenset({"BlobAlreadyExists", "ContainerAlreadyExists", "QueueAlreadyExists"})
_OTHER_VERSION: Final = frozenset({"ConditionNotMet", "BlobOverwritten", "PopReceiptMismatch"})
_TRANSIENT_STATUS: Final = frozenset({408, 409, 429})


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Within the block, errors of the SDK come out as ours; `what` names the thing acted on."""
    try:
        yield
    except (AzureError, DeserializationError) as error:
        raise translate(error, what) from error


def translate(error: Exception, what: str) -> PenstockError:
    """Our error for one of the SDK's. Everything in `MAPPED` has one; a class unknown to it is TryLater."""
    if isinstance(error, HttpResponseError) and type(error) not in _NO_ANSWER and error.status_code is not None:
        return _of_answer(error.status_code, storage_code(error), f"{what}: {first_line(error)}")
    return TryLater(f"{what}: no whole answer from storage ({type(error).__name__}: {first_line(error)})")


@contextmanager
def unless_there(what: str) -> Iterator[None]:
    """Within the block something is made that may be there already; one that is just being deleted is an error."""
    try:
        yield
    except ResourceExistsError as error:
        if not isinstance(translate(error, what), AlreadyExists):
            raise


def storage_code(error: HttpResponseError) -> str:
    """Storage's own error code, such as `ContainerNotFound`; empty if the answer carries none."""
    code = getattr(error, "error_code", None)
    if code is None:
        code = getattr(error.response, "headers", {}).get("x-ms-error-code")
    return str(getattr(code, "value", code) or "")


def _of_answer(status: int, code: str, message: str) -> PenstockError:
    if code in _TAKEN:
        return AlreadyExists(message)
    if code in _OTHER_VERSION or status in (304, 412):
        return Superseded(message)
    if status == 404:
        return NotFound(message)
    if status in (401, 403):
        return ConfigurationError(f"{message}; check the connection string and its key")
    if status in _TRANSIENT_STATUS or not 400 <= status < 500:
        return TryLater(message)
    return BadInput(message)


def first_line(error: Exception) -> str:
    """What the SDK says first; requests and traces follow it."""
    return str(error).partition("\n")[0]
