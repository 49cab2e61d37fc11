"""Ask a local server whether it lives, with nothing but asyncio streams."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

HOST = "127.0.0.1"


class Health(StrEnum):
    """What a probe found."""

    OK = "ok"
    DEGRADED = "degraded"
    """It answers, and says that something it needs is missing: a restart would not help."""
    SILENT = "silent"
    """No answer in time."""


Probe = Callable[[], Awaitable[Health]]


def http(port: int, path: str = "/", *, any_status: bool = False, timeout_s: float = 5.0) -> Probe:
    """OK when `GET path` answers 200, or anything at all with `any_status`; DEGRADED on another status."""

    async def probe() -> Health:
        try:
            status = await asyncio.wait_for(_status(port, path), timeout_s)
        except (OSError, TimeoutError, ValueError, IndexError):
            return Health.SILENT
        return Health.OK if any_status or status == 200 else Health.DEGRADED

    return probe


def every(*probes: Probe) -> Probe:
    """OK when all are; else the worst of them."""

    async def probe() -> Health:
        found = await asyncio.gather(*(each() for each in probes))
        return max(found, key=list(Health).index)

    return probe


async def _status(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
