"""Clients for the storage accounts behind the app's connections, and what an outage of one looks like."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from typing import Any, Final

from azure.core.exceptions import (
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from infra.local.functions_host.app_settings import AppSettings

log = logging.getLogger("functions_host.storage")

OUTAGE_POLL_S: Final = 0.5
"""How often a storage account that does not answer is tried again."""
_CONNECT_TIMEOUT_S: Final = 3
_READ_TIMEOUT_S: Final = 60
# A function's output waits this long for an account that restarts; afterwards the invocation fails.
_OUTPUT_TRIES: Final = 5


def is_outage(error: BaseException) -> bool:
    """Whether the account did not answer, or said that it cannot now: the same call may work later."""
    if isinstance(error, HttpResponseError):
        return error.status_code is None or error.status_code >= 500 or error.status_code in (408, 429)
    return isinstance(error, ServiceRequestError | ServiceResponseError | OSError | asyncio.TimeoutError)


class StorageAccounts:
    """Opens each connection once. Listeners' clients fail at once, because the listener itself tries again;
    the clients for outputs bridge a restart of the account.
    """

    def __init__(self, settings: AppSettings) -> None:
        self._settings = settings
        self._queues: dict[tuple[str, bool], QueueServiceClient] = {}
        self._blobs: dict[tuple[str, bool], BlobServiceClient] = {}
        self._stack = AsyncExitStack()

    async def queues(self, connection: str, *, patient: bool = False) -> QueueServiceClient:
        """The queue service of a connection. Raises ConfigurationError when the connection is not set."""
        key = (connection, patient)
        if key not in self._queues:
            client = QueueServiceClient.from_connection_string(
                self._settings.connection_string(connection),
                **_transport(patient),
            )
            self._queues[key] = client
            await self._stack.enter_async_context(client)
        return self._queues[key]

    async def blobs(self, connection: str, *, patient: bool = False) -> BlobServiceClient:
        """The blob service of a connection. Raises ConfigurationError when the connection is not set."""
        key = (connection, patient)
        if key not in self._blobs:
            client = BlobServiceClient.from_connection_string(
                self._settings.connection_string(connection),
                **_transport(patient),
            )
            self._blobs[key] = client
            await self._stack.enter_async_context(client)
        return self._blobs[key]

    async def close(self) -> None:
        """Close every client; call after the last use."""
        await self._stack.aclose()


def _transport(patient: bool) -> dict[str, Any]:
    return {
        "connection_timeout": _CONNECT_TIMEOUT_S,
        "read_timeout": _READ_TIMEOUT_S,
        "retry_total": _OUTPUT_TRIES if patient else 0,
        # The SDK's own pauses start at 15 s; with these, tries follow each other after 0.5, 1.5, 1.5 ... s.
        "initial_backoff": 0.5,
        "increment_base": 1,
        "random_jitter_range": 0,
    }


class OutageLog:
    """Says once that something in storage cannot be used, why, and once that it can be again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since: float | None = None
        self._said = ""

    def failed(self, error: BaseException) -> None:
        """Note a failed call; the first one is logged, and each change of its kind."""
        self._since = self._since or time.monotonic()
        kind = "does not answer" if is_outage(error) else f"cannot be used, {type(error).__name__}"
        if kind != self._said:
            self._said = kind
            level = logging.WARNING if is_outage(error) else logging.ERROR
            log.log(level, "%s %s, trying on: %s", self._what, kind, first_line(error))

    def answered(self) -> None:
        """Note a call that worked; the first one after an outage is logged."""
        if self._since is not None:
            log.warning("%s answers again after %.1f s", self._what, time.monotonic() - self._since)
            self._since = None
            self._said = ""


def first_line(error: BaseException) -> str:
    """An SDK error without its pages of headers and XML."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"


def is_missing(error: BaseException) -> bool:
    """Whether the queue, container, blob or message is not there."""
    return isinstance(error, ResourceNotFoundError)
