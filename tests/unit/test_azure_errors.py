"""Azure's errors: every class and status has a translation, and importing the adapters stays cheap."""

import inspect
import subprocess
import sys

import azure.core.exceptions as sdk
import pytest
from azure.core.exceptions import HttpResponseError

from infra.azure.account import full_connection_string
from infra.azure.blobs import AzureBlobs
from infra.azure.errors import MAPPED, translate, translated
from infra.azure.queues import AzureQueue
from models.errors import AlreadyExists, BadInput, ConfigurationError, NotFound, Superseded, TryLater

NOBODY = (
    "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==;"
    "BlobEndpoint=http://127.0.0.1:9/a;QueueEndpoint=http://127.0.0.1:9/a;"
)


def answer(status: int, code: str = "") -> HttpResponseError:
    error = HttpResponseError("said storage\nmore")
    error.status_code, error.error_code = status, code
    return error


def test_every_error_class_of_the_sdk_is_mapped() -> None:
    classes = {
        each
        for _, each in inspect.getmembers(sdk, inspect.isclass)
        if issubclass(each, Exception) and each.__module__ == sdk.__name__
    }
    # The base class is never raised itself; serialising bad arguments is a bug of ours and stays one.
    assert classes - MAPPED == {sdk.AzureError, sdk.SerializationError}


@pytest.mark.parametrize(
    ("status", "code", "ours"),
    [
        (304, "", Superseded),
        (400, "InvalidMetadata", BadInput),
        (400, "PopReceiptMismatch", Superseded),
        (401, "", ConfigurationError),
        (403, "AuthenticationFailed", ConfigurationError),
        (404, "BlobNotFound", NotFound),
        (404, "", NotFound),
        (408, "", TryLater),
        (409, "BlobAlreadyExists", AlreadyExists),
        (409, "ContainerBeingDeleted", TryLater),
        (409, "SnapshotsPresent", TryLater),
        (412, "ConditionNotMet", Superseded),
        (412, "LeaseIdMissing", Superseded),
        (413, "RequestBodyTooLarge", BadInput),
        (429, "", TryLater),
        (500, "InternalError", TryLater),
        (503, "ServerBusy", TryLater),
        (302, "", TryLater),
    ],
)
def test_an_answer_is_told_apart_by_status_and_code(status: int, code: str, ours: type[Exception]) -> None:
    translation = translate(answer(status, code), "blob c/x")
    assert type(translation) is ours
    assert "c/x: said storage" in str(translation)


def test_no_status_is_left_without_a_translation() -> None:
    for status in range(300, 600):
        assert translate(answer(status), "x")


@pytest.mark.parametrize(
    "error", [sdk.ServiceRequestError("refused"), sdk.ServiceResponseError("reset"), sdk.IncompleteReadError("cut")]
)
def test_a_lost_answer_is_try_later_with_its_cause(error: Exception) -> None:
    with pytest.raises(TryLater) as caught, translated("blob c/x"):
        raise error
    assert caught.value.__cause__ is error


def test_nobody_at_the_address_is_try_later_at_once() -> None:
    with pytest.raises(TryLater):
        AzureBlobs(NOBODY).create("c/x", b"")
    with pytest.raises(TryLater):
        AzureQueue(NOBODY, "queue").send(b"")


def test_the_emulator_shortcut_stands_for_its_whole_connection_string() -> None:
    assert "127.0.0.1:10000" in full_connection_string("UseDevelopmentStorage=true")
    assert full_connection_string(NOBODY) == NOBODY


def test_importing_the_adapters_loads_nothing_heavy() -> None:
    probe = (
        "import sys, infra.azure.blobs, infra.azure.queues, infra.state.sqlite; "
        "print(*({'pyarrow', 'numpy', 'onnxruntime', 'pandas', 'faust', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
