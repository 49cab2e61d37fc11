"""The HTTP side by itself: what becomes of requests before and after the function."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest
from azure.functions.meta import Datum
from starlette.requests import Request
from starlette.responses import Response

from infra.local.functions_host import http_front
from infra.local.functions_host.bindings import Binding, Parameter
from infra.local.functions_host.host_json import HttpOptions
from infra.local.functions_host.http_front import HttpFront, http_response
from infra.local.functions_host.invocation import Invoker
from infra.local.functions_host.routes import RouteTable
from tests.unit.functions_host.conftest import Index

ECHO = """
@app.route(route="echo/{word}", auth_level="anonymous")
def echo(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.get_body() + req.route_params["word"].encode())

@app.route(route="header", auth_level="anonymous")
def header(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.headers["x-word"])
"""


class NoStorage:
    async def read(self, parameter: Parameter, values: Mapping[str, str]) -> Datum | None:
        raise AssertionError("no input is bound")

    async def write(self, binding: Binding, datum: Datum, values: Mapping[str, str]) -> None:
        raise AssertionError("no output is bound")


async def _no_admin(request: Request) -> Response:
    return Response(status_code=404)


def _client(index: Index) -> httpx.AsyncClient:
    invoker = Invoker(NoStorage(), "/app", threads=1, timeout=None, on_timeout=print)
    front = HttpFront(RouteTable(index(ECHO), "api"), invoker, None, HttpOptions(), _no_admin)
    return httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://host")


async def test_a_quoted_slash_stays_inside_its_route_value(index: Index) -> None:
    async with _client(index) as web:
        assert (await web.post("/api/echo/a%2Fb%20c", content=b"<")).text == "<a/b c"


async def test_headers_of_one_name_are_joined(index: Index) -> None:
    async with _client(index) as web:
        answer = await web.get("/api/header", headers=[("x-word", "a"), ("X-Word", "b"), ("x-other", "c")])
        assert answer.text == "a,b"


async def test_a_body_beyond_the_limit_is_refused(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_front, "MAX_BODY_BYTES", 10)
    async with _client(index) as web:
        assert (await web.post("/api/echo/x", content=b"0123456789")).status_code == 200
        assert (await web.post("/api/echo/x", content=b"0123456789a")).status_code == 413


def test_a_function_without_an_http_output_answers_204() -> None:
    assert http_response(None).status_code == 204
