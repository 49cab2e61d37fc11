"""The adapter of Cosmos DB as far as no server is needed: ids, sizes, errors, and who chooses it."""

import inspect
import subprocess
import sys
from pathlib import Path

import azure.cosmos.exceptions as sdk
import pytest
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from infra.settings import Settings
from infra.state.cosmos import MAX_BYTES, CosmosState, connect
from infra.state.cosmos_errors import translate
from infra.state.names import LONGEST, encoded_id, encoded_prefix
from infra.state.sqlite import SqliteState
from infra.wiring.state import open_state
from models.errors import BadInput, ConfigurationError, NotFound, PenstockError, Superseded, TryLater
from models.ports import Put, Remove

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(texts, texts)
def test_encoded_ids_are_legal_and_sort_and_begin_as_the_ids_do(a: str, b: str) -> None:
    first, second = encoded_id(a), encoded_id(b)
    assert first.isascii()
    assert first.isprintable()
    assert not set("/\\?# ") & set(first)
    assert (first < second) == (a < b)
    assert (first == second) == (a == b)
    assert encoded_prefix(a).startswith(encoded_prefix(b)) == a.startswith(b)
    assert encoded_id(a + b).startswith(encoded_prefix(a)[:LONGEST])


def test_a_long_id_fits_and_stays_itself() -> None:
    ids = ["日" * 500 + last for last in "abc"]
    assert len({encoded_id(id) for id in ids}) == 3
    assert max(len(encoded_id(id)) for id in ids) <= 1023
    assert len({encoded_id("x" * n) for n in range(LONGEST - 1, LONGEST + 3)}) == 4


@pytest.mark.parametrize("id", ["", "\ud800"])
def test_an_id_that_is_no_text_is_bad_input(id: str) -> None:
    with pytest.raises(BadInput, match="id of a document"):
        encoded_id(id)


@pytest.fixture
def state() -> CosmosState:
    def nobody() -> object:
        raise AssertionError("nothing may be sent")

    return CosmosState(nobody, "penstock")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "writes",
    [
        [Put("a", b"x" * MAX_BYTES)],
        [Put("a", ("ü" * (MAX_BYTES // 2)).encode())],
        [Put("a", b"\\" * (MAX_BYTES // 2))],
        [Put("a", b"x" * (MAX_BYTES // 2)), Put("b", b"x" * (MAX_BYTES // 2)), Remove("c")],
    ],
)
def test_what_cosmos_db_would_refuse_for_its_size_is_refused_before_it_is_sent(state: CosmosState, writes) -> None:
    with pytest.raises(BadInput, match="2 MB"):
        state.transact("box", "p", writes)


def test_a_partition_too_long_or_a_body_that_is_no_text_is_bad_input(state: CosmosState) -> None:
    with pytest.raises(BadInput, match="partition"):
        state.transact("box", "p" * 3000, [Put("a", b"{}")])
    with pytest.raises(BadInput, match="JSON"):
        state.transact("box", "p", [Put("a", b"\xff")])


def test_every_error_class_of_the_sdk_is_mapped_by_its_status() -> None:
    classes = {
        each
        for _, each in inspect.getmembers(sdk, inspect.isclass)
        if issubclass(each, Exception) and each.__module__ == sdk.__name__ and not each.__name__.startswith("_")
    }
    assert {each for each in classes if issubclass(each, HttpResponseError)} == {
        sdk.CosmosHttpResponseError,
        sdk.CosmosResourceNotFoundError,
        sdk.CosmosResourceExistsError,
        sdk.CosmosAccessConditionFailedError,
        sdk.CosmosBatchOperationError,
    }
    # Without an answer, so without a status.
    assert {each for each in classes if not issubclass(each, HttpResponseError)} == {sdk.CosmosClientTimeoutError}


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        (400, BadInput),
        (401, ConfigurationError),
        (403, ConfigurationError),
        (404, NotFound),
        (408, TryLater),
        (409, Superseded),
        (410, TryLater),
        (412, Superseded),
        (413, BadInput),
        (424, TryLater),
        (429, TryLater),
        (449, TryLater),
        (500, TryLater),
        (503, TryLater),
    ],
)
def test_an_answer_is_told_in_our_words(status: int, ours: type[PenstockError]) -> None:
    theirs = [
        sdk.CosmosHttpResponseError(status, "no\nmore"),
        sdk.CosmosBatchOperationError(0, {}, status, "no\nmore", []),
    ]
    for error in theirs:
        translated = translate(error, "box/p/a")
        assert type(translated) is ours
        assert "box/p/a" in str(translated)


@pytest.mark.parametrize("error", [sdk.CosmosClientTimeoutError(), ServiceRequestError("no"), AzureError("no")])
def test_no_answer_is_try_later(error: AzureError) -> None:
    assert type(translate(error, "box")) is TryLater


def test_a_throttled_request_says_when_to_come_again() -> None:
    error = sdk.CosmosBatchOperationError(0, {"x-ms-retry-after-ms": "2500"}, 429, "slow", [])
    translated = translate(error, "box")
    assert isinstance(translated, TryLater)
    assert translated.retry_after_s == 2.5


def test_an_endpoint_in_the_settings_chooses_cosmos_db_without_asking_it_anything(tmp_path: Path) -> None:
    assert isinstance(open_state(Settings(state_path=tmp_path / "s.sqlite")), SqliteState)
    settings = Settings(cosmos_endpoint="https://nobody.invalid", cosmos_key=SecretStr("YQ=="))
    assert isinstance(open_state(settings), CosmosState)
    assert "YQ==" not in repr(settings)


def test_an_endpoint_that_is_none_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="endpoint or its key"):
        connect("nonsense", "key")()


def test_the_sdk_is_not_loaded_before_it_is_used() -> None:
    code = (
        "import sys; from infra.state.cosmos import CosmosState, connect; "
        "CosmosState(connect('https://a.invalid', 'k'), 'd'); print('azure.cosmos' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
