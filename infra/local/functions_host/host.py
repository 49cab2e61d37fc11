"""One running host: its listeners, its HTTP side, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.local.functions_host import blob_trigger, queue_trigger, timer_listener
from infra.local.functions_host.admin import admin_app
from infra.local.functions_host.app_settings import AppSettings
from infra.local.functions_host.bindings import IndexedFunction
from infra.local.functions_host.data_bindings import DataBindings
from infra.local.functions_host.errors import EXIT_FUNCTION_TIMEOUT
from infra.local.functions_host.host_json import HostJson
from infra.local.functions_host.http_front import HttpFront
from infra.local.functions_host.invocation import Invoker, Trigger
from infra.local.functions_host.keys import AccessKeys
from infra.local.functions_host.listeners import Durations, Listener, Listeners, Wiring, build_listeners
from infra.local.functions_host.pacing import Doorbell, pause
from infra.local.functions_host.routes import RouteTable
from infra.local.functions_host.server import HttpServer
from infra.local.functions_host.storage import StorageAccounts

log = logging.getLogger("functions_host.host")

_RESTART_PAUSE_S = 1.0


@dataclass(frozen=True)
class HostOptions:
    """How a host is run, beside what host.json says; `drain_s` bounds the end of in-flight invocations."""

    app_dir: Path
    host_id: str
    durations: Durations = field(default_factory=Durations)
    drain_s: float = 8.0


class Host:
    """Runs indexed functions until `stop()`.

    Starts and goes on without its storage account; listeners then wait for it. Killed at any moment it loses
    nothing: messages come back after their lock, blobs without a receipt are queued again.
    """

    def __init__(
        self,
        functions: list[IndexedFunction],
        host_json: HostJson,
        settings: AppSettings,
        options: HostOptions,
        keys: AccessKeys | None,
    ) -> None:
        self._functions = functions
        self._host_json = host_json
        self._settings = settings
        self._options = options
        self._keys = keys
        self._enabled = [each for each in functions if not settings.is_disabled(each.name)]
        self._routes = RouteTable(
            [each for each in self._enabled if each.trigger.binding.type == "httpTrigger"],
            host_json.http.route_prefix,
        )
        self._stopping = asyncio.Event()
        self._draining = False
        self._base_url = ""
        self._listeners = Listeners()
        self._by_hand: set[asyncio.Task[Any]] = set()
        self._accounts = StorageAccounts(settings)
        doorbell = Doorbell()
        self._invoker = Invoker(
            DataBindings(self._accounts, settings, doorbell, queue_base64=host_json.queues.base64),
            str(options.app_dir),
            threads=_thread_count(settings),
            timeout=host_json.function_timeout,
            on_timeout=_end_process,
        )
        self._wiring = Wiring(
            self._accounts, settings, host_json, options.host_id, options.durations, doorbell, self._invoker
        )

    @property
    def functions(self) -> list[IndexedFunction]:
        """The indexed functions, in the order of their definition."""
        return self._functions

    async def run(self, listener: socket.socket, on_ready: Callable[[], None]) -> bool:
        """Serve on a listening socket until `stop()`, then drain; True when everything in flight ended.

        `on_ready` is called once, when HTTP answers and the listeners run. Raises ConfigurationError before
        that when a connection, schedule or path is wrong.
        """
        try:
            self._listeners = await build_listeners(self._enabled, self._wiring)
            return await self._serve(listener, on_ready)
        finally:
            await self._accounts.close()
            self._invoker.close()

    def stop(self) -> None:
        """Begin to drain; `run()` returns when that has ended."""
        self.drain()
        self._stopping.set()

    def drain(self) -> None:
        """Stop the listeners; what is in flight goes on, and HTTP is served on."""
        self._draining = True
        for listener in self._listeners.all:
            listener.stop()

    def is_disabled(self, function: IndexedFunction) -> bool:
        """Whether an app setting keeps the function from running."""
        return function not in self._enabled

    def status(self) -> dict[str, Any]:
        """The document of /admin/host/status."""
        return {
            "id": self._options.host_id,
            "state": "Running",
            "version": "4.0",
            "functions": len(self._functions),
            "inFlight": self._invoker.running,
            "draining": self._draining,
        }

    def drain_status(self) -> dict[str, Any]:
        """The document of /admin/host/drain/status: Disabled, InProgress or Completed."""
        outstanding = max(self._invoker.running, sum(queue.in_flight for queue in self._listeners.queues))
        running = "InProgress" if outstanding else "Completed"
        state = running if self._draining else "Disabled"
        return {"state": state, "outstandingInvocations": outstanding, "outstandingRetries": 0}

    async def run_by_hand(self, function: IndexedFunction, text: str) -> None:
        """Start one run beside the trigger's own. Raises ValueError when the input does not fit."""
        if self.is_disabled(function):
            raise ValueError(f"{function.name} is disabled")
        trigger = await self._trigger_by_hand(function, text)
        task = asyncio.create_task(self._invoker.invoke(function, trigger))
        self._by_hand.add(task)
        task.add_done_callback(self._by_hand.discard)

    async def _trigger_by_hand(self, function: IndexedFunction, text: str) -> Trigger:
        match function.trigger.binding.type:
            case "timerTrigger":
                return timer_listener.by_hand()
            case "queueTrigger":
                return queue_trigger.by_hand(function, text)
            case "blobTrigger":
                return await blob_trigger.by_hand(self._listeners.blobs[function.id], text)
            case _:
                raise ValueError(f"{function.name} is an HTTP function: call its route")

    async def _serve(self, listener: socket.socket, on_ready: Callable[[], None]) -> bool:
        address, port = listener.getsockname()[:2]
        self._base_url = f"http://{address}:{port}"
        front = HttpFront(
            self._routes,
            self._invoker,
            self._keys,
            self._host_json.http,
            admin_app(self, lambda: self._base_url),
        )
        server = HttpServer(front, self._options.drain_s)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        listening = [asyncio.create_task(self._keep(each)) for each in self._listeners.all]
        while not server.started and not serving.done():
            await asyncio.sleep(0.005)
        if not serving.done():
            on_ready()
        await asyncio.wait([asyncio.create_task(self._stopping.wait()), serving], return_when="FIRST_COMPLETED")
        if serving.done():
            serving.result()
        self.drain()
        server.should_exit = True
        return await self._drain_all([serving, *listening])

    async def _keep(self, listener: Listener) -> None:
        """Run a listener; a fault in it is logged and must not end the host or the other listeners."""
        while True:
            try:
                await listener.run()
            except Exception:
                log.exception("a listener failed, starting it again")
                await pause(_RESTART_PAUSE_S, self._stopping)
                if not self._draining:
                    continue
            return

    async def _drain_all(self, tasks: list[asyncio.Task[None]]) -> bool:
        waits = [*tasks, *self._by_hand]
        waits += [asyncio.create_task(queue.drained()) for queue in self._listeners.queues]
        _, late = await asyncio.wait(waits, timeout=self._options.drain_s)
        if not late:
            return True
        log.warning("%d invocations did not end within %.0f s", self._invoker.running, self._options.drain_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.gather(*(queue.give_back() for queue in self._listeners.queues))
        return False


def _thread_count(settings: AppSettings) -> int | None:
    """PYTHON_THREADPOOL_THREAD_COUNT; None is Python's own min(32, cores + 4)."""
    value = settings.get("PYTHON_THREADPOOL_THREAD_COUNT")
    if value is not None and value.isdigit() and int(value) >= 1:
        return int(value)
    return None


def _end_process(function: str) -> None:
    """Nothing stops Python code from outside, so end the process as the real host ends its worker."""
    log.critical("%s outlived functionTimeout: the host ends, to be started again", function)
    sys.stderr.flush()
    os._exit(EXIT_FUNCTION_TIMEOUT)
