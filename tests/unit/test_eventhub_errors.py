"""Errors of the Event Hubs SDK: every class has a translation, and the adapter loads the SDK when it is needed."""

import inspect
import subprocess
import sys

import azure.eventhub.exceptions as sdk
import pytest

from infra.azure.eventhub import translate
from models.errors import BadInput, ConfigurationError, TryLater

OURS = {
    sdk.AuthenticationError: ConfigurationError,
    sdk.ClientClosedError: TryLater,
    sdk.ConnectError: TryLater,
    sdk.ConnectionLostError: TryLater,
    sdk.EventDataError: BadInput,
    sdk.EventDataSendError: TryLater,
    sdk.EventHubError: TryLater,
    sdk.OperationTimeoutError: TryLater,
}


def test_every_error_class_of_the_sdk_is_mapped() -> None:
    classes = {
        each
        for _, each in inspect.getmembers(sdk, inspect.isclass)
        if issubclass(each, Exception) and each.__module__ == sdk.__name__
    }
    # Ownership is a consumer's.
    assert classes - set(OURS) == {sdk.OwnershipLostError}


@pytest.mark.parametrize(("theirs", "ours"), OURS.items(), ids=lambda each: each.__name__)
def test_an_error_is_told_in_our_words(theirs: type[Exception], ours: type[Exception]) -> None:
    translated = translate(theirs("said the hub\nmore"), "ratings", 7)
    assert type(translated) is ours
    assert "ratings" in str(translated)
    assert "more" not in str(translated)


@pytest.mark.parametrize(
    ("condition", "ours"), [("link:message-size-exceeded", BadInput), ("not-found", ConfigurationError)]
)
def test_a_condition_says_more_than_the_class(condition: str, ours: type[Exception]) -> None:
    error = sdk.EventDataSendError("no")
    error.error = condition
    assert type(translate(error, "ratings", 7)) is ours


def test_the_sdk_is_not_loaded_before_an_event_is_sent() -> None:
    code = (
        "import sys; from infra.azure.eventhub import EventHubSender, connect; "
        "EventHubSender('h', connect('h', connection='x', namespace=None)); print('azure.eventhub' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
