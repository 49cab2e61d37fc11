"""Run one function once: decode its arguments, call it, encode and write its outputs."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from azure.functions.meta import Datum

from infra.local.functions_host import conversion
from infra.local.functions_host.bindings import Binding, IndexedFunction, Parameter
from infra.local.functions_host.context import OutValue, Retry, mark_thread, new_context
from infra.local.functions_host.logs import current_invocation

log = logging.getLogger("functions_host.function")


@dataclass(frozen=True)
class Trigger:
    """What started an invocation: the trigger's value, its metadata, values for `{name}` expressions."""

    data: Datum
    metadata: Mapping[str, Datum] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    trace_parent: str = ""


@dataclass(frozen=True)
class Outcome:
    """How an invocation ended; `http` is its HTTP output, if it has one."""

    error: BaseException | None = None
    http: Datum | None = None

    @property
    def ok(self) -> bool:
        """Whether the function returned and all its outputs are written."""
        return self.error is None


class DataPort(Protocol):
    """Where input bindings are read from and outputs written to."""

    async def read(self, parameter: Parameter, values: Mapping[str, str]) -> Datum | None:
        """The value of an input, None when there is none."""
        ...

    async def write(self, binding: Binding, datum: Datum, values: Mapping[str, str]) -> None:
        """Write one output; raises when it could not be written."""
        ...


class Invoker:
    """Runs functions: synchronous ones in a thread pool, asynchronous ones on the event loop.

    `on_timeout` is called when an invocation outlives functionTimeout. Nothing can stop Python code from
    outside, so it has to end the process, as the real host ends its worker.
    """

    def __init__(
        self,
        data: DataPort,
        directory: str,
        *,
        threads: int | None,
        timeout: timedelta | None,
        on_timeout: Callable[[str], None],
    ) -> None:
        self._data = data
        self._directory = directory
        self._timeout_s = timeout.total_seconds() if timeout else None
        self._on_timeout = on_timeout
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="function")
        self._running = 0

    @property
    def running(self) -> int:
        """Invocations under way, waiting ones included."""
        return self._running

    async def invoke(self, function: IndexedFunction, trigger: Trigger, retry: Retry | None = None) -> Outcome:
        """The outcome of one run; never raises for what the function or its outputs do.

        Outputs are written after the function returned, one after the other; if one fails the invocation
        fails, and what was written before stays, so replays have to be harmless.
        """
        invocation_id = str(uuid.uuid4())
        token = current_invocation.set((invocation_id, function.name))
        started = time.perf_counter()
        self._running += 1
        try:
            http = await self._run(function, trigger, invocation_id, retry)
        except (Exception, SystemExit) as error:  # a function that calls sys.exit() must not end the host
            log.error("Executed, failed", exc_info=error, extra={"ms": _ms_since(started)})
            return Outcome(error)
        else:
            log.info("Executed", extra={"ms": _ms_since(started)})
            return Outcome(http=http)
        finally:
            self._running -= 1
            current_invocation.reset(token)

    def close(self) -> None:
        """Take no new call; threads that still run are left to the end of the process."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(
        self, function: IndexedFunction, trigger: Trigger, invocation_id: str, retry: Retry | None
    ) -> Datum | None:
        arguments: dict[str, Any] = {
            function.trigger.binding.name: conversion.decode(function.trigger, trigger.data, trigger.metadata)
        }
        for parameter in function.inputs:
            data = await self._data.read(parameter, trigger.values)
            arguments[parameter.binding.name] = None if data is None else conversion.decode(parameter, data, {})
        outs = {parameter.binding.name: OutValue() for parameter in function.outputs}
        arguments.update(outs)
        if function.wants_context:
            arguments["context"] = new_context(
                invocation_id, function.name, self._directory, retry, trigger.trace_parent
            )
        returned = await self._call(function, arguments, invocation_id)
        return await self._finish(function, trigger, returned, outs)

    async def _call(self, function: IndexedFunction, arguments: dict[str, Any], invocation_id: str) -> Any:
        loop = asyncio.get_running_loop()
        watchdog = (
            loop.call_later(self._timeout_s, self._on_timeout, function.name) if self._timeout_s is not None else None
        )
        try:
            if function.is_async:
                return await function.call(**arguments)
            context = contextvars.copy_context()
            return await loop.run_in_executor(
                self._threads, context.run, _call_in_thread, function.call, arguments, invocation_id
            )
        finally:
            if watchdog is not None:
                watchdog.cancel()

    async def _finish(
        self, function: IndexedFunction, trigger: Trigger, returned: Any, outs: Mapping[str, OutValue]
    ) -> Datum | None:
        if returned is not None and function.result is None:
            raise RuntimeError(f"function {function.name!r} without a $return binding returned a non-None value")
        outputs: list[tuple[Parameter, Datum]] = [
            (parameter, conversion.encode(parameter, value))
            for parameter in function.outputs
            if (value := outs[parameter.binding.name].get()) is not None
        ]
        if function.result is not None:
            outputs.append((function.result, conversion.encode(function.result, returned)))
        http: Datum | None = None
        for parameter, datum in outputs:
            if parameter.binding.type == "http":
                http = datum
            else:
                await self._data.write(parameter.binding, datum, trigger.values)
        return http


def _call_in_thread(call: Callable[..., Any], arguments: dict[str, Any], invocation_id: str) -> Any:
    mark_thread(invocation_id)
    try:
        return call(**arguments)
    except StopIteration as error:
        # A future cannot carry it before Python 3.12: the invocation would never end.
        raise RuntimeError("the function raised StopIteration") from error


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
