"""The host's HTTP side: function routes with keys and limits, and the admin endpoints beside them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from azure.functions.meta import Datum
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from infra.local.functions_host.host_json import MAX_BODY_BYTES, HttpOptions
from infra.local.functions_host.invocation import Invoker, Trigger
from infra.local.functions_host.keys import AccessKeys
from infra.local.functions_host.routes import Endpoint, RouteTable

log = logging.getLogger("functions_host.http")

AdminApp = Callable[[Request], Awaitable[Response]]


class BodyTooLarge(Exception):
    """The request's body exceeds the limit."""


class HttpFront:
    """An ASGI application. `keys` None admits everyone, as `func start` does."""

    def __init__(
        self,
        routes: RouteTable,
        invoker: Invoker,
        keys: AccessKeys | None,
        options: HttpOptions,
        admin: AdminApp,
    ) -> None:
        self._routes = routes
        self._invoker = invoker
        self._keys = keys
        self._admin = admin
        self._outstanding_limit = options.max_outstanding_requests
        self._outstanding = 0
        self._slots = asyncio.Semaphore(options.max_concurrent_requests) if options.max_concurrent_requests else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request and log it, without its query: `code=` is a key."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        started = time.perf_counter()
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except BodyTooLarge:
            response = Response(status_code=413)
        path = scope["path"]
        log.info(
            "request",
            extra={
                "method": request.method,
                "path": path,
                "status": response.status_code,
                "ms": round((time.perf_counter() - started) * 1000, 1),
            },
        )
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        raw_path = request.scope.get("raw_path", b"").decode("ascii", "replace").partition("?")[0]
        path = raw_path.strip("/").lower()
        if path == "":
            return Response("The functions host is up and running.", media_type="text/plain")
        if path == "admin/host/ping":
            return Response(status_code=200)
        if path.split("/")[0] == "admin":
            if self._keys is not None and not self._keys.is_master(presented_key(request)):
                return Response(status_code=401)
            return await self._admin(request)
        found = self._routes.find(request.method, raw_path)
        if found is None:
            return Response(status_code=404)
        return await self._run(*found, request)

    async def _run(self, endpoint: Endpoint, route_values: dict[str, str], request: Request) -> Response:
        if self._keys is not None:
            key = presented_key(request)
            if not self._keys.admits(endpoint.level, endpoint.function.name, key):
                return Response(status_code=401)
        if self._outstanding_limit is not None and self._outstanding >= self._outstanding_limit:
            return Response(status_code=429, headers={"retry-after": "1"})
        self._outstanding += 1
        try:
            if self._slots is None:
                return await self._invoke(endpoint, route_values, request)
            async with self._slots:
                return await self._invoke(endpoint, route_values, request)
        finally:
            self._outstanding -= 1

    async def _invoke(self, endpoint: Endpoint, route_values: dict[str, str], request: Request) -> Response:
        trigger = await request_trigger(request, route_values)
        outcome = await self._invoker.invoke(endpoint.function, trigger)
        return http_response(outcome.http) if outcome.ok else Response(status_code=500)


def presented_key(request: Request) -> str | None:
    """The key a caller shows: the header first, else `?code=`."""
    return request.headers.get("x-functions-key") or request.query_params.get("code")


async def request_trigger(request: Request, route_values: Mapping[str, str]) -> Trigger:
    """A request as the worker receives it: lower-case header names, no empty query values, bytes as body.

    Headers of one name are joined with commas. Raises BodyTooLarge.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
    query = {name: value for name, value in request.query_params.items() if value}
    headers = {name: ",".join(request.headers.getlist(name)) for name in request.headers}
    value = {
        "method": Datum(request.method, "string"),
        "url": Datum(str(request.url), "string"),
        "headers": _strings(headers),
        "query": _strings(query),
        "params": _strings(route_values),
        "body": Datum(bytes(body), "bytes"),
    }
    values = {**{f"Query.{name}": text for name, text in query.items()}, **route_values}
    return Trigger(Datum(value, "http"), values=values, trace_parent=str(headers.get("traceparent", "")))


def http_response(output: Datum | None) -> Response:
    """The response of an HTTP output: a text is 200, no output is 204."""
    if output is None or output.value is None:
        return Response(status_code=204)
    if output.type != "http":
        return Response(output.value, media_type="text/plain")
    value: dict[str, Any] = output.value
    response = Response(value["body"].value, status_code=int(value["status_code"].value))
    for name, header in value["headers"].items():
        response.headers[name] = header.value
    for cookie in value["cookies"] or ():
        for morsel in cookie.values():
            response.headers.append("set-cookie", morsel.OutputString())
    return response


def _strings(values: Mapping[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}
