"""The HTTP server of a host: a socket of its own and no signal handlers, which belong to the process."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from infra.local.functions_host.errors import AddressInUse


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one. Raises AddressInUse."""
    # The protocol by name: asyncio turns Nagle's algorithm off only where it reads TCP, and an answer of two writes
    # would wait 40 ms for the caller's delayed acknowledgement.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise AddressInUse(f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.listen(2048)
    return listener


class HttpServer(uvicorn.Server):
    """uvicorn, started and stopped by the host."""

    def __init__(self, app: ASGIApp, graceful_s: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, int(graceful_s)),
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the host: it drains its listeners too."""
        yield
