"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(what: Callable[[], T], timeout_s: float = 120.0, *, every_s: float = 0.1) -> T:
    """What it returns, once that is true; an AssertionError after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline, f"nothing happened within {timeout_s:g} s"
        time.sleep(every_s)
    return found
