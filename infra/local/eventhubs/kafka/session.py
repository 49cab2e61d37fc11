"""What a handler knows besides its request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ..hub import Hub
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


Handler = Callable[[Session, Any], Awaitable[Fields | None]]
"""Answers a request body; None means that the client expects no answer."""
