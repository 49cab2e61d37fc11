"""Calls of `/api/videos` on fakes, for tests."""

from __future__ import annotations

import json
from typing import Any

import azure.functions as func

from functions.films import films
from tests.unit.studio import Studio

KEY = {"x-functions-key": "a key"}


def call(
    studio: Studio, method: str, path: str = "videos", body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Status, body and headers of a route."""
    app = films(lambda: studio.services, sweep_schedule="0 * * * * *")
    functions = {builder._function._name: builder for builder in app._function_builders}
    route, _, id = path.partition("/")
    id, _, query = id.partition("?") if id else ("", "", route.partition("?")[2])
    name = {"POST": "create_video", "DELETE": "cancel_video", "GET": "video" if id else "videos"}[method]
    request = func.HttpRequest(
        method=method,
        url=f"/api/{path}",
        headers=KEY if headers is None else headers,
        params=dict(pair.split("=") for pair in query.split("&") if pair),
        route_params={"id": id},
        body=body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode(),
    )
    answer = functions[name]._function.get_user_function()(request)
    return answer.status_code, json.loads(answer.get_body()), dict(answer.headers)
