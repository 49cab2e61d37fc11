"""Group commit: one flush in a thread, shared by everything that waits for the disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeAlias

from ..settings import FsyncPolicy


class FlushJob(NamedTuple):
    """What to flush now. `flush` runs in a thread; then `done` on the event loop, with what went wrong."""

    flush: Callable[[], None]
    done: Callable[[OSError | None], None]


Ticket: TypeAlias = "asyncio.Future[None]"
"""The end of the round that flushes a write."""


class Flushable(Protocol):
    """Something with unflushed writes."""

    def begin_flush(self) -> FlushJob:
        """The job that makes durable all that was written up to this call; called on the event loop."""


class Flusher:
    """Flushes dirty files by the policy: at once and shared (`group`), every interval, or never.

    While one round is in the disk's hands, new writes gather for the next: the slower the disk, the larger the group.
    """

    def __init__(self, policy: FsyncPolicy, interval_s: float) -> None:
        self.waits = policy == "group"
        self._policy = policy
        self._interval_s = interval_s
        self._dirty: set[Flushable] = set()
        self._next_round: asyncio.Future[None] | None = None
        self._rounds: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flush")

    def mark(self, target: Flushable) -> Ticket | None:
        """`target` was written to. Under `group`, a round starts as soon as the one before is over.

        The ticket is for `settled`; there is none when the policy does not wait for the disk.
        """
        if self._policy == "none":
            return None
        loop = asyncio.get_running_loop()
        self._dirty.add(target)
        if self._next_round is None:
            self._next_round = loop.create_future()
        if self._rounds is None or self._rounds.done():
            self._rounds = loop.create_task(self._flush_rounds())
        return self._next_round if self.waits else None

    async def settled(self, ticket: Ticket | None) -> None:
        """Return when the ticket's round is over; whether it went well, the marked target knows."""
        if ticket is not None:
            await asyncio.shield(ticket)

    async def _flush_rounds(self) -> None:
        while self._dirty:
            if self._policy == "interval":
                await asyncio.sleep(self._interval_s)
            await self._flush_round()

    async def _flush_round(self) -> None:
        targets, self._dirty = self._dirty, set()
        round_over, self._next_round = self._next_round, None
        try:
            jobs = [target.begin_flush() for target in targets]
            failures = await asyncio.get_running_loop().run_in_executor(self._thread, _flush_all, jobs)
            for job, failure in zip(jobs, failures, strict=True):
                job.done(failure)
        finally:
            if round_over is not None and not round_over.done():
                round_over.set_result(None)

    async def close(self) -> None:
        """Flush what is left, whatever the policy is."""
        if self._rounds is not None:
            if self._policy == "interval":
                self._rounds.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._rounds
        if self._dirty:
            await self._flush_round()
        self._thread.shutdown()


def _flush_all(jobs: list[FlushJob]) -> list[OSError | None]:
    failures: list[OSError | None] = []
    for job in jobs:
        try:
            job.flush()
        except OSError as error:
            failures.append(error)
        else:
            failures.append(None)
    return failures
