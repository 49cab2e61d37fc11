"""One locked queue message: keep its lock, then delete it, give it back, or set it aside."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from azure.core.exceptions import HttpResponseError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from infra.local.functions_host.pacing import pause
from infra.local.functions_host.storage import OUTAGE_POLL_S, OutageLog, first_line, is_outage
from infra.local.functions_host.storage_writes import send_creating_queue

log = logging.getLogger("functions_host.queue")

POISON_SUFFIX = "-poison"
_MAX_QUEUE_NAME = 63
_NEVER = -1


class LockLost(Exception):
    """The message's lock ended, or it is gone: someone else has it, or had it."""


class LockedMessage:
    """A message received under a lock of `lock_s` seconds.

    The lock is a visibility timeout: when this process dies the message is seen again after it. Every step
    tries on through an outage of the storage account for as long as the lock can hold.
    """

    def __init__(self, queue: QueueClient, message: QueueMessage, lock_s: float, outage: OutageLog) -> None:
        self._queue = queue
        self._message = message
        self._lock_s = lock_s
        self._outage = outage
        self._locked_until = time.monotonic() + lock_s
        self._gone = False

    @contextlib.asynccontextmanager
    async def kept_locked(self) -> AsyncIterator[None]:
        """Renew the lock at its half-life while the block runs."""
        done = asyncio.Event()
        renewal = asyncio.create_task(self._renew_until(done))
        try:
            yield
        finally:
            # Never cancelled: an interrupted renewal may have changed the pop receipt that deleting needs.
            done.set()
            await renewal

    async def delete(self) -> None:
        """Remove the message for good; a lost lock is no error, the message then runs elsewhere again."""
        await self._settle(self._delete, "delete")

    async def release(self, delay_s: int) -> None:
        """Let the message be received again after `delay_s` seconds."""
        await self._settle(lambda: self._make_visible_in(delay_s), "release")

    async def set_aside(self, poison: QueueClient | None) -> None:
        """Copy the message as it is to the poison queue, for ever, then delete it.

        Without a poison queue it is left alone until its lock ends, as the real host does. Dying between
        the two steps leaves a second copy in the poison queue, never none.
        """
        if poison is None:
            log.error("message %s has no poison queue, it stays in its queue", self._message.id)
            return
        content = self._message.content
        try:
            copied = await self._settle(
                lambda: send_creating_queue(poison, content, _NEVER), "copy to the poison queue"
            )
        except HttpResponseError as error:
            log.error("message %s cannot be set aside, it stays: %s", self._message.id, first_line(error))
            return
        if not copied:
            return
        await self.delete()
        log.error(
            "message %s set aside in %s after %s tries",
            self._message.id,
            poison.queue_name,
            self._message.dequeue_count,
        )

    async def _renew_until(self, done: asyncio.Event) -> None:
        wait_s = self._lock_s / 2
        while True:
            await pause(wait_s, done)
            if done.is_set():
                return
            try:
                await self._make_visible_in(round(self._lock_s))
            except LockLost:
                log.warning("lock of message %s lost while it ran; it may run twice", self._message.id)
                return
            except Exception as error:
                self._outage.failed(error)
                wait_s = min(OUTAGE_POLL_S, self._lock_s / 4)
            else:
                wait_s = self._lock_s / 2

    async def _make_visible_in(self, seconds: int) -> None:
        try:
            changed = await self._queue.update_message(self._message, visibility_timeout=seconds)
        except HttpResponseError as error:
            if is_outage(error):
                raise
            self._gone = True
            raise LockLost from error
        self._message.pop_receipt = changed.pop_receipt
        self._locked_until = time.monotonic() + seconds

    async def _delete(self) -> None:
        try:
            await self._queue.delete_message(self._message)
        except HttpResponseError as error:
            if is_outage(error):
                raise
            # Receipt mismatch or no such message: another host has it, or had it.
            raise LockLost from error

    async def _settle(self, step: Callable[[], Awaitable[object]], what: str) -> bool:
        """Whether the step was done; False when the lock ended before the account answered."""
        while not self._gone:
            try:
                await step()
            except LockLost:
                return False
            except Exception as error:
                if not is_outage(error):
                    raise
                if not await self._can_retry(error, what):
                    return False
            else:
                return True
        return False

    async def _can_retry(self, error: Exception, what: str) -> bool:
        self._outage.failed(error)
        if time.monotonic() > self._locked_until:
            log.warning("%s of message %s failed; it will run again", what, self._message.id)
            return False
        await asyncio.sleep(OUTAGE_POLL_S)
        return True


def poison_queue_name(queue: str) -> str | None:
    """`<queue>-poison`, or None where the real host makes none."""
    name = queue + POISON_SUFFIX
    return None if queue.endswith(POISON_SUFFIX) or len(name) > _MAX_QUEUE_NAME else name
