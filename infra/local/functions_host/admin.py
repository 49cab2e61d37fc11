"""The admin endpoints: list functions, run one by hand, status, drain."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.local.functions_host.bindings import IndexedFunction


class HostControl(Protocol):
    """What the admin endpoints ask of the host."""

    @property
    def functions(self) -> list[IndexedFunction]:
        """The indexed functions."""
        ...

    def is_disabled(self, function: IndexedFunction) -> bool:
        """Whether an app setting keeps the function from running."""
        ...

    def status(self) -> dict[str, Any]:
        """The document of /admin/host/status."""
        ...

    def drain(self) -> None:
        """Stop the listeners; what is in flight goes on."""
        ...

    def drain_status(self) -> dict[str, Any]:
        """The document of /admin/host/drain/status."""
        ...

    async def run_by_hand(self, function: IndexedFunction, text: str) -> None:
        """Start one run. Raises ValueError when the input does not fit the trigger."""
        ...


def admin_app(host: HostControl, base_url: Callable[[], str]) -> Callable[[Request], Awaitable[Response]]:
    """Answers below `/admin`; the caller has checked the master key."""

    async def answer(request: Request) -> Response:
        parts = [part for part in request.url.path.split("/") if part][1:]
        match (request.method, *(part if index == 1 else part.lower() for index, part in enumerate(parts))):
            case ("GET", "functions"):
                return JSONResponse([_describe(host, function, base_url()) for function in host.functions])
            case ("GET", "functions", name):
                function = _find(host, name)
                return JSONResponse(_describe(host, function, base_url())) if function else Response(status_code=404)
            case ("POST", "functions", name):
                function = _find(host, name)
                return await _run(host, function, request) if function else Response(status_code=404)
            case ("GET" | "POST", "host", status) if status.lower() == "status":
                return JSONResponse(host.status())
            case ("POST", "host", drain) if drain.lower() == "drain":
                host.drain()
                return JSONResponse(host.drain_status(), status_code=202)
            case ("GET", "host", drain, "status") if drain.lower() == "drain":
                return JSONResponse(host.drain_status())
            case _:
                return Response(status_code=404)

    return answer


def _describe(host: HostControl, function: IndexedFunction, base_url: str) -> dict[str, Any]:
    """A function as `/admin/functions` lists it."""
    bindings = [function.trigger, *function.inputs, *function.outputs]
    if function.result is not None:
        bindings.append(function.result)
    return {
        "name": function.name,
        "href": f"{base_url}/admin/functions/{function.name}",
        "language": "python",
        "isDisabled": host.is_disabled(function),
        "config": {"name": function.name, "bindings": [dict(each.binding.properties) for each in bindings]},
    }


def _find(host: HostControl, name: str) -> IndexedFunction | None:
    return next((each for each in host.functions if each.name.lower() == name.lower()), None)


async def _run(host: HostControl, function: IndexedFunction, request: Request) -> Response:
    body = await request.body()
    try:
        content = json.loads(body) if body.strip() else {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        return JSONResponse({"error": 'expected a JSON object such as {"input": "..."}'}, status_code=400)
    given = content.get("input")
    text = given if isinstance(given, str) else "" if given is None else json.dumps(given)
    try:
        await host.run_by_hand(function, text)
    except ValueError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    return Response(status_code=202)
