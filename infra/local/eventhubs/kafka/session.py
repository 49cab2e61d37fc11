"""What a handler knows besides its request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ..hub import Hub
from ..namespace import AccessKey, Right
from .codec import Fields

NODE_ID = 1
"""The one broker there is: leader of every partition, coordinator of every group, controller."""


@dataclass(slots=True)
class Session:
    """One connection. `host` and `port` are what clients are told to connect to."""

    hub: Hub
    host: str
    port: int
    peer: str
    client_id: str = ""
    version: int = 0
    """Of the request being handled."""
    key: AccessKey | None = None
    """What the client has shown; None before, or without, a login."""
    locked_out: bool = False
    """Whether it has shown a wrong one: nothing more is heard from it."""
    throttle_s: float = 0.0
    """For how long the client has to wait before its next request."""

    def may(self, right: Right) -> bool:
        """Whether the client's key, if it has shown one, allows this."""
        return self.key is None or self.key.allows(right)


Handler = Callable[[Session, Any], Awaitable[Fields | None]]
"""Answers a request body; None means that the client expects no answer."""
