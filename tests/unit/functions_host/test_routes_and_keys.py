"""Which function an HTTP request reaches, and who may call it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from infra.local.functions_host.errors import AppRefused, ConfigurationError
from infra.local.functions_host.keys import AccessKeys, open_keys
from infra.local.functions_host.routes import Route, RouteTable
from tests.unit.functions_host.conftest import Index


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("items/{id:int}", "items/7", {"id": "7"}),
        ("items/{id:int}", "items/seven", None),
        ("items/{id:int}", "items/99999999999", None),
        ("items/{id}", "items/a%20b%2Fc", {"id": "a b/c"}),
        ("items/{id}/{part?}", "items/1", {"id": "1"}),
        ("items/{id}/{part?}", "items/1/2", {"id": "1", "part": "2"}),
        ("items/{id}/{part?}", "items/1/2/3", None),
        ("items", "ITEMS", {}),
        ("items", "other", None),
        ("items/{size=big}", "items", {"size": "big"}),
        ("files/{*rest}", "files/a/b", {"rest": "a/b"}),
        ("files/{*rest}", "files", {"rest": ""}),
        ("k/{id:guid}", "k/not-a-guid", None),
        ("k/{name:alpha:minlength(3)}", "k/ab", None),
        ("k/{name:alpha:minlength(3)}", "k/abc", {"name": "abc"}),
        ("k/{n:range(1,5)}", "k/6", None),
    ],
)
def test_a_route_matches(template: str, path: str, values: dict[str, str] | None) -> None:
    assert Route(template).match(path) == values


def _routes(index: Index, prefix: str, *routes: str) -> RouteTable:
    body = "".join(
        f"@app.route({route})\ndef f{number}(req: func.HttpRequest) -> func.HttpResponse: ...\n"
        for number, route in enumerate(routes)
    )
    return RouteTable(index(body), prefix)


def _name(table: RouteTable, method: str, path: str) -> str | None:
    found = table.find(method, path)
    return found[0].function.name if found else None


def test_literal_segments_win_over_parameters_and_methods_tell_functions_apart(index: Index) -> None:
    table = _routes(
        index,
        "api",
        'route="users/{id}"',
        'route="users/me", methods=["GET"]',
        'route="users/{id:int}", methods=["GET"]',
    )
    assert _name(table, "GET", "/api/users/me") == "f1"
    assert _name(table, "GET", "/api/users/5") == "f2"
    assert _name(table, "POST", "/api/users/5") == "f0"
    assert _name(table, "GET", "/users/5") is None


def test_an_empty_prefix_serves_from_the_root_and_a_long_one_below_it(index: Index) -> None:
    assert _name(_routes(index, "", 'route="x"'), "GET", "/x") == "f0"
    assert _name(_routes(index, "a/B", 'route="x"'), "GET", "/A/b/x") == "f0"


def test_a_wrong_method_finds_nothing(index: Index) -> None:
    assert _name(_routes(index, "api", 'route="x", methods=["POST"]'), "GET", "/api/x") is None


@pytest.mark.parametrize(
    ("prefix", "routes", "reason"),
    [
        ("api", ('route="x"', 'route="X"'), "is that of f0 too"),
        ("", ('route="admin/x"',), "built-in routes"),
        ("api", ('route="x/{id:colour}"',), "constraint 'colour' is unknown"),
        ("api", ('route="x/{id"',), "cannot be understood"),
    ],
)
def test_an_app_is_refused_for_its_routes(index: Index, prefix: str, routes: tuple[str, ...], reason: str) -> None:
    with pytest.raises(AppRefused, match="refused") as caught:
        _routes(index, prefix, *routes)
    assert reason in str(caught.value)


KEYS = AccessKeys("master", {"default": "host"}, {"f": {"default": "key-f"}, "g": {"default": "key-g"}})


@pytest.mark.parametrize(
    ("level", "key", "admitted"),
    [
        ("anonymous", None, True),
        ("function", None, False),
        ("function", "wrong", False),
        ("function", "key-f", True),
        ("function", "key-g", False),
        ("function", "host", True),
        ("function", "master", True),
        ("admin", "host", False),
        ("admin", "key-f", False),
        ("admin", "master", True),
        ("function", "ключ", False),
    ],
)
def test_a_key_opens_what_it_should(level: str, key: str | None, admitted: bool) -> None:
    assert KEYS.admits(level, "f", key) is admitted


def test_keys_are_kept_across_starts_in_a_file_only_the_owner_reads(tmp_path: Path) -> None:
    first = open_keys(tmp_path, ["f"])
    second = open_keys(tmp_path, ["f", "g"])
    assert second.master == first.master
    assert second.functions["f"] == first.functions["f"]
    assert second.functions["g"] != first.functions["f"]
    assert open_keys(tmp_path, ["f"]) == second
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


def test_damaged_keys_are_not_replaced_silently(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(ConfigurationError, match="delete it"):
        open_keys(tmp_path, ["f"])
