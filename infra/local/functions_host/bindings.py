"""What an indexed function looks like to the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

RETURN = "$return"
RUNNABLE_TRIGGERS = frozenset({"httpTrigger", "queueTrigger", "blobTrigger", "timerTrigger"})
READABLE_INPUTS = frozenset({"blob"})
WRITABLE_OUTPUTS = frozenset({"http", "queue", "blob"})


@dataclass(frozen=True)
class Binding:
    """One trigger, input or output of a function, from the library's own metadata."""

    type: str
    name: str
    direction: str
    properties: Mapping[str, Any]

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Binding:
        """Read one entry of `get_raw_bindings()`; the direction is upper case there and lower case here."""
        return cls(
            type=str(metadata["type"]),
            name=str(metadata["name"]),
            direction=str(metadata["direction"]).lower(),
            properties=metadata,
        )

    @property
    def is_trigger(self) -> bool:
        """Whether this binding starts the function; position says nothing, decorators apply bottom-up."""
        return self.type.lower().endswith("trigger")

    @property
    def connection(self) -> str:
        """Name of the connection setting, "" for the default one."""
        return str(self.properties.get("connection") or "")

    def text(self, key: str) -> str:
        """A property that has to be there, as the decorators guarantee."""
        return str(self.properties[key])


@dataclass(frozen=True)
class RetryPolicy:
    """A function's own retries; `max_retries` -1 means for ever."""

    max_retries: int
    minimum: timedelta
    maximum: timedelta
    exponential: bool

    def delay(self, retry: int) -> timedelta:
        """Pause before retry number `retry`, counted from 1."""
        if not self.exponential:
            return self.minimum
        # Beyond 2**30 the maximum has long been reached, and a timedelta would overflow.
        grown: timedelta = self.minimum * (1 << min(retry - 1, 30))
        return min(self.maximum, grown)


@dataclass(frozen=True)
class Parameter:
    """How one bound parameter is decoded or encoded: `converter` is a binding type or "generic"."""

    binding: Binding
    converter: str
    python_type: Any


@dataclass(frozen=True)
class IndexedFunction:
    """A function the worker would accept, ready to be invoked."""

    name: str
    call: Callable[..., Any]
    is_async: bool
    wants_context: bool
    trigger: Parameter
    inputs: tuple[Parameter, ...] = ()
    outputs: tuple[Parameter, ...] = ()
    result: Parameter | None = None
    retry: RetryPolicy | None = None

    @property
    def id(self) -> str:
        """The name under which the real host files receipts and timer states."""
        return f"Host.Functions.{self.name}"
