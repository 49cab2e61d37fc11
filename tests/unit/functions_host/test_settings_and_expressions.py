"""host.json, app settings, binding expressions and durations."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from azure.functions.meta import Datum

from infra.local.azurite import Ports, connection_string
from infra.local.functions_host.app_settings import AppSettings, merge_local_settings
from infra.local.functions_host.data_bindings import queue_bodies
from infra.local.functions_host.errors import ConfigurationError
from infra.local.functions_host.host_json import read_host_json
from infra.local.functions_host.placeholders import BlobPattern, UnresolvedExpression, fill, names_in
from infra.local.functions_host.timespan import parse_timespan


def _host_json(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "host.json"
    path.write_text(json.dumps(content))
    return path


def test_host_json_gives_what_it_says(tmp_path: Path) -> None:
    host = read_host_json(
        _host_json(
            tmp_path,
            {
                "version": "2.0",
                "functionTimeout": "00:10:00",
                "extensions": {
                    "http": {"routePrefix": "", "maxConcurrentRequests": 3, "maxOutstandingRequests": -1},
                    "queues": {
                        "batchSize": 4,
                        "newBatchThreshold": 0,
                        "maxDequeueCount": 2,
                        "visibilityTimeout": "00:00:30",
                        "maxPollingInterval": "00:00:00.500",
                        "messageEncoding": "none",
                    },
                },
            },
        )
    )
    assert host.function_timeout == timedelta(minutes=10)
    assert (host.http.route_prefix, host.http.max_concurrent_requests) == ("", 3)
    assert host.http.max_outstanding_requests is None
    assert (host.queues.batch_size, host.queues.new_batch_threshold, host.queues.max_dequeue_count) == (4, 0, 2)
    assert host.queues.visibility_timeout == timedelta(seconds=30)
    assert host.queues.max_polling_interval == timedelta(seconds=0.5)
    assert host.queues.base64 is False


def test_an_empty_host_json_has_the_defaults_of_azure(tmp_path: Path) -> None:
    host = read_host_json(_host_json(tmp_path, {"version": "2.0"}))
    assert host.function_timeout == timedelta(minutes=30)
    assert (host.queues.batch_size, host.queues.max_dequeue_count, host.queues.base64) == (16, 5, True)
    assert host.queues.max_polling_interval == timedelta(minutes=1)
    assert host.http.route_prefix == "api"


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({}, "version"),
        ({"version": "2.0", "extensions": {"queues": {"batchSize": 33}}}, "batchSize"),
        ({"version": "2.0", "extensions": {"queues": {"batchSize": "4"}}}, "batchSize"),
        ({"version": "2.0", "extensions": {"queues": {"maxPollingInterval": "2s"}}}, "maxPollingInterval"),
        ({"version": "2.0", "extensions": {"queues": {"messageEncoding": "hex"}}}, "messageEncoding"),
        ({"version": "2.0", "functionTimeout": "soon"}, "functionTimeout"),
        ({"version": "2.0", "extensions": []}, None),
        ({"version": "2.0", "extensions": [1]}, "extensions"),
    ],
)
def test_a_wrong_host_json_is_refused_by_the_name_of_the_key(
    tmp_path: Path, content: object, key: str | None
) -> None:
    path = _host_json(tmp_path, content)
    if key is None:
        read_host_json(path)
        return
    with pytest.raises(ConfigurationError, match=key):
        read_host_json(path)


def test_a_timeout_of_minus_one_means_none(tmp_path: Path) -> None:
    assert read_host_json(_host_json(tmp_path, {"version": "2.0", "functionTimeout": "-1"})).function_timeout is None


def test_the_environment_wins_over_local_settings(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text(json.dumps({"IsEncrypted": False, "Values": {"A": "file", "B": "file"}}))
    environment = {"A": "environment"}
    merge_local_settings(path, environment)
    assert environment == {"A": "environment", "B": "file"}


def test_encrypted_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text(json.dumps({"IsEncrypted": True, "Values": {}}))
    with pytest.raises(ConfigurationError, match="decrypt"):
        merge_local_settings(path, {})


def test_a_connection_is_looked_up_as_azure_does() -> None:
    account = connection_string(Ports(1, 2, 3))
    settings = AppSettings({"AzureWebJobsStorage": "UseDevelopmentStorage=true", "AzureWebJobsData": account})
    assert settings.connection_string("") == connection_string(Ports())
    assert settings.connection_string("Data") == account
    assert AppSettings({"Data": account}).connection_string("Data") == account


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({}, "not set"),
        ({"Data__serviceUri": "https://x"}, "identity-based"),
        ({"Data": "secret-that-is-no-account"}, "not a storage connection string"),
    ],
)
def test_a_connection_that_cannot_be_used_is_named_without_its_value(
    environment: dict[str, str], reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        AppSettings(environment).connection_string("Data")
    assert "secret" not in str(caught.value)


def test_settings_are_expanded_in_binding_values() -> None:
    assert AppSettings({"QUEUE": "orders"}).expand("%QUEUE%-eu") == "orders-eu"
    with pytest.raises(ConfigurationError, match="NOPE"):
        AppSettings({}).expand("%NOPE%")


@pytest.mark.parametrize(
    ("path", "blob", "values"),
    [
        ("up/{name}", "a.txt", {"name": "a.txt"}),
        ("up/{name}.{ext}", "a.b.txt", {"name": "a.b", "ext": "txt"}),
        ("up/in/{name}.mp4", "in/x.mp4", {"name": "x"}),
        ("up/in/{name}.mp4", "out/x.mp4", None),
        ("up/{name}.mp4", "x.avi", None),
        ("up", "anything/at all", {"name": "anything/at all"}),
        ("up/{{{name}}}", "{x}", {"name": "x"}),
    ],
)
def test_a_blob_pattern_matches(path: str, blob: str, values: dict[str, str] | None) -> None:
    assert BlobPattern(path).match(blob) == values


def test_listing_starts_at_the_fixed_head_of_a_pattern() -> None:
    assert BlobPattern("up/in/{day}/x-{name}").prefix == "in/"
    assert BlobPattern("up/{{a}}{name}").prefix == ""
    assert BlobPattern("up/fixed.txt").prefix == "fixed.txt"


def test_expressions_are_filled_from_the_trigger() -> None:
    assert fill("out/{NAME}.txt", {"name": "a"}) == "out/a.txt"
    assert fill("{{x}}", {}) == "{x}"
    assert len(fill("{rand-guid}", {})) == 36
    assert fill("{rand-guid}", {}) != fill("{rand-guid}", {})
    assert len(fill("{DateTime:yyyy-MM-dd}", {})) == 10
    assert names_in("out/{a}/{DateTime:yyyy}") == {"a", "DateTime"}
    with pytest.raises(UnresolvedExpression, match="nope"):
        fill("{nope}", {"name": "a"})


@pytest.mark.parametrize(
    ("datum", "bodies"),
    [
        (Datum("plain", "string"), [b"plain"]),
        (Datum('["a", {"b": 1}]', "string"), [b"a", b'{"b": 1}']),
        (Datum("[not json", "string"), [b"[not json"]),
        (Datum('{"a": 1}', "string"), [b'{"a": 1}']),
        (Datum(b"\x00\xff", "bytes"), [b"\x00\xff"]),
        (Datum('["a", {"id": null, "body": "b"}]', "json"), [b"a", b"b"]),
        (Datum('{"id": null, "body": "b"}', "json"), [b"b"]),
    ],
)
def test_a_queue_output_becomes_messages(datum: Datum, bodies: list[bytes]) -> None:
    assert queue_bodies(datum) == bodies


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("00:00:02", timedelta(seconds=2)),
        ("01:30", timedelta(hours=1, minutes=30)),
        ("1.02:03:04.5", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
        ("-00:00:01", timedelta(seconds=-1)),
    ],
)
def test_a_timespan_is_read(text: str, span: timedelta) -> None:
    assert parse_timespan(text) == span


@pytest.mark.parametrize("text", ["", "5", "25:00:00", "00:61:00", "1 minute"])
def test_what_is_no_timespan_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_timespan(text)
