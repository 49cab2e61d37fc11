"""Group commit: one flush, shared by everything that waits for the disk."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from ..settings import FsyncPolicy

_log = logging.getLogger(__name__)
_QUICK_S = 0.0004
"""A round that takes no longer is quick: the event loop may as well wait for it."""
_PROOF_ROUNDS = 16
"""After so many quick rounds in a row the next ones run on the event loop, until one is not."""


class FlushJob(NamedTuple):
    """What to flush now. `flush` may run in a thread; then `done` on the event loop, with what went wrong."""

    flush: Callable[[], None]
    done: Callable[[OSError | None], None]


class _Outcome(NamedTuple):
    failures: list[OSError | None]
    seconds: float


class Ticket:
    """The end of the round that flushes a write."""

    def __init__(self) -> None:
        self._over = False
        self._callbacks: list[Callable[[], None]] = []

    def then(self, callback: Callable[[], None]) -> None:
        """Have it called when the round is over, within the round's end and not a turn of the loop later."""
        if self._over:
            callback()
        else:
            self._callbacks.append(callback)

    async def wait(self) -> None:
        """Return when the round is over."""
        if not self._over:
            over = asyncio.get_running_loop().create_future()
            self.then(lambda: None if over.done() else over.set_result(None))
            await over

    def end(self) -> None:
        """The round is over."""
        self._over = True
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                _log.exception("a write that was flushed could not be acknowledged")
        self._callbacks.clear()


class Flushable(Protocol):
    """Something with unflushed writes."""

    def begin_flush(self) -> FlushJob:
        """The job that makes durable all that was written up to this call; called on the event loop."""


class Flusher:
    """Flushes dirty files by the policy: at once and shared (`group`), every interval, or never.

    While one round is in the disk's hands, new writes gather for the next: the slower the disk, the larger the group.
    Rounds run in a thread, so that a slow disk does not hold up the event loop. After some quick ones in a row they
    run on the loop, which spares the way to the thread and back, until one is not quick.
    """

    def __init__(self, policy: FsyncPolicy, interval_s: float) -> None:
        self.waits = policy == "group"
        self._policy = policy
        self._interval_s = interval_s
        self._dirty: set[Flushable] = set()
        self._next_round: Ticket | None = None
        self._current: Ticket | None = None
        """The end of the round under way."""
        self._timer: asyncio.Handle | None = None
        """The round that will begin."""
        self._quick_rounds = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flush")

    def mark(self, target: Flushable) -> Ticket | None:
        """`target` was written to. Under `group`, a round starts as soon as the one before is over.

        The ticket is for `settled`; there is none when the policy does not wait for the disk.
        """
        if self._policy == "none":
            return None
        self._dirty.add(target)
        if self._next_round is None:
            self._next_round = Ticket()
        if self._current is None and self._timer is None:
            self._schedule()
        return self._next_round if self.waits else None

    async def settled(self, ticket: Ticket | None) -> None:
        """Return when the ticket's round is over; whether it went well, the marked target knows."""
        if ticket is not None:
            await ticket.wait()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if self._policy == "interval":
            self._timer = loop.call_later(self._interval_s, self._begin_round)
        else:
            self._timer = loop.call_soon(self._begin_round)  # what else this turn of the loop writes shares it

    def _begin_round(self) -> None:
        targets, self._dirty = self._dirty, set()
        self._current, self._next_round, self._timer = self._next_round, None, None
        jobs = [target.begin_flush() for target in targets]
        if self._quick_rounds >= _PROOF_ROUNDS:
            self._end_round(jobs, _flush_all(jobs))
            return
        in_thread = asyncio.get_running_loop().run_in_executor(self._thread, _flush_all, jobs)
        in_thread.add_done_callback(lambda done: self._end_round(jobs, done.result()))

    def _end_round(self, jobs: list[FlushJob], outcome: _Outcome) -> None:
        self._quick_rounds = self._quick_rounds + 1 if outcome.seconds <= _QUICK_S else 0
        over, self._current = self._current, None
        try:
            for job, failure in zip(jobs, outcome.failures, strict=True):
                job.done(failure)
        finally:
            if over is not None:
                over.end()
            if self._dirty and self._timer is None:
                self._schedule()

    async def close(self) -> None:
        """Flush what is left, whatever the policy is."""
        while self._current is not None or self._timer is not None:
            if self._timer is not None:
                self._timer.cancel()
                self._begin_round()
            if self._current is not None:
                await self._current.wait()
        self._thread.shutdown()


def _flush_all(jobs: list[FlushJob]) -> _Outcome:
    begun = time.perf_counter()
    failures: list[OSError | None] = []
    for job in jobs:
        try:
            job.flush()
        except OSError as error:
            failures.append(error)
        else:
            failures.append(None)
    return _Outcome(failures, time.perf_counter() - begun)
