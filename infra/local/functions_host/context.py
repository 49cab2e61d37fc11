"""The `context` argument of a function, and its output parameters."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Final

from azure.functions import Context, Out
from azure.functions._abc import RetryContext, RpcException, TraceContext

from infra.local.functions_host.logs import thread_invocation


class OutValue(Out[Any]):
    """An output parameter: remembers what the function set."""

    def __init__(self) -> None:
        self._value: Any = None

    def set(self, val: Any) -> None:
        """Keep the value; it is written after the function returned."""
        self._value = val

    def get(self) -> Any:
        """The value set last, None before."""
        return self._value


# The library's base classes are abstract: a field implements a property only by having a default.


@dataclass(frozen=True)
class _Failure(RpcException):
    message: str = ""
    source: str = ""
    stack_trace: str = ""


_NO_FAILURE: Final = _Failure()


@dataclass(frozen=True)
class Retry(RetryContext):
    """Which try of its retry policy an invocation is; retry_count 0 is the first run."""

    retry_count: int = 0
    max_retry_count: int = 0
    exception: RpcException = _NO_FAILURE

    @classmethod
    def after(cls, error: BaseException, count: int, maximum: int) -> Retry:
        """The context of retry number `count`, made because of `error`."""
        return cls(count, maximum, _Failure(f"{type(error).__name__}: {error}"))


@dataclass(frozen=True)
class _Trace(TraceContext):
    trace_parent: str = ""
    trace_state: str = ""

    @property
    def attributes(self) -> dict[str, str]:
        """None are known here."""
        return {}


_NO_RETRY: Final = Retry()
_NO_TRACE: Final = _Trace()


@dataclass(frozen=True)
class InvocationContext(Context):
    """What `context: func.Context` receives."""

    invocation_id: str = ""
    function_name: str = ""
    function_directory: str = ""
    retry_context: RetryContext = _NO_RETRY
    trace_context: TraceContext = _NO_TRACE

    @property
    def thread_local_storage(self) -> Any:
        """Set its `invocation_id` in a thread of your own and the thread's log lines carry it."""
        return thread_invocation


def new_context(
    invocation_id: str, function: str, directory: str, retry: RetryContext | None, trace_parent: str
) -> InvocationContext:
    """The context of one invocation, with its id set for the calling thread's logs."""
    return InvocationContext(invocation_id, function, directory, retry or _NO_RETRY, _Trace(trace_parent))


def mark_thread(invocation_id: str) -> None:
    """Label the running thread with an invocation, as the worker does before a synchronous function."""
    storage: threading.local = thread_invocation
    storage.invocation_id = invocation_id
