"""Status page, `/health` and `/metrics` over HTTP: one answer per connection, GET and HEAD only."""

from __future__ import annotations

import asyncio
import contextlib
import json

from . import status
from .hub import Hub

_PATIENCE_S = 5.0
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class StatusServer:
    """The HTTP listener of one hub. It shows names and numbers, never an event or a key, and changes nothing."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen; afterwards `port` is the bound one."""
        settings = self._hub.settings
        self._server = await asyncio.start_server(self._serve, settings.host, settings.http_port, limit=16 * 1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(request))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # no request, or nobody to answer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, request: bytes) -> bytes:
        parts = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/"):
            return _response(400, "text/plain", "this is no HTTP request\n")
        method, target, _ = parts
        if method not in ("GET", "HEAD"):
            return _response(405, "text/plain", "GET and HEAD only\n")
        answer = self._resource(target.partition("?")[0])
        return answer if method == "GET" else answer[: answer.index(b"\r\n\r\n") + 4]

    def _resource(self, path: str) -> bytes:
        if path == "/":
            return _response(200, "text/html; charset=utf-8", status.page(self._hub))
        if path == "/metrics":
            return _response(200, "text/plain; version=0.0.4; charset=utf-8", status.metrics(self._hub))
        if path == "/health":
            failures = status.look(self._hub).failures
            body = json.dumps({"status": "unhealthy" if failures else "healthy", "failures": failures})
            return _response(503 if failures else 200, "application/json", body)
        return _response(404, "text/plain", "there are /, /health and /metrics\n")


def _response(code: int, content_type: str, body: str) -> bytes:
    payload = body.encode()
    head = (
        f"HTTP/1.1 {code} {_REASONS[code]}\r\nContent-Type: {content_type}\r\nContent-Length: {len(payload)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + payload
