"""How long a listener waits before it looks again, and how it is woken before that."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict


class Backoff:
    """Randomised exponential pauses between empty polls: 0.1 s, growing to the maximum, +-20 %.

    Follows the WebJobs SDK's RandomizedExponentialBackoffStrategy: minimum + (2**n - 1) * delta, n counting
    the empty polls since the last message.
    """

    MINIMUM_S = 0.1
    DELTA_S = 0.1

    def __init__(self, maximum_s: float, uniform: random.Random | None = None) -> None:
        self._maximum_s = max(maximum_s, self.MINIMUM_S)
        self._random = uniform or random.Random()  # noqa: S311 - jitter, not a secret
        self._empty_polls = 0

    def reset(self) -> None:
        """A message came: look again soon."""
        self._empty_polls = 0

    def next_s(self) -> float:
        """Seconds to wait after one more empty poll."""
        if self._empty_polls == 0:
            self._empty_polls = 1
            return self.MINIMUM_S
        # 2**40 tenths of a second exceed any maximum; more would only be big numbers.
        growth = (1 << min(self._empty_polls, 40)) - 1
        self._empty_polls += 1
        pause = self.MINIMUM_S + growth * self.DELTA_S * self._random.uniform(0.8, 1.2)
        return min(pause, self._maximum_s)


class Doorbell:
    """Wakes the listener of a queue when this host itself has put a message there."""

    def __init__(self) -> None:
        self._bells: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def ring(self, queue: str) -> None:
        """Tell the listener of `queue`, if there is one, to look now."""
        if queue in self._bells:
            self._bells[queue].set()

    def of(self, queue: str) -> asyncio.Event:
        """The event that `ring` sets."""
        return self._bells[queue]


async def pause(seconds: float, *wakers: asyncio.Event) -> None:
    """Return after `seconds`, or as soon as one of the events is set."""
    if any(waker.is_set() for waker in wakers):
        return
    waits = [asyncio.ensure_future(waker.wait()) for waker in wakers]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*waits, return_exceptions=True)
