"""Receive messages of one queue and run a function for each, a bounded number at a time."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from infra.local.functions_host.host_json import QueueOptions
from infra.local.functions_host.pacing import Backoff, pause
from infra.local.functions_host.queue_message import LockedMessage
from infra.local.functions_host.storage import OUTAGE_POLL_S, OutageLog, is_missing

log = logging.getLogger("functions_host.queue")

Handler = Callable[[QueueMessage, bytes], Awaitable[bool]]
"""Runs the function for a message and its decoded body; says whether it succeeded. Never raises."""


@dataclass(frozen=True)
class ListenerOptions:
    """How a queue is read: host.json's queue options and the length of a message's lock in seconds."""

    queue: QueueOptions
    lock_s: float


class QueueListener:
    """Polls one queue until stopped; keeps at most batch_size + new_batch_threshold messages in flight.

    Delivery is at least once: a message is deleted after its function succeeded, so a host that dies between
    the two runs it again. A missing queue is polled, not created; an unreachable account is tried again.
    """

    def __init__(
        self,
        queue: QueueClient,
        poison: QueueClient | None,
        handler: Handler,
        options: ListenerOptions,
        bell: asyncio.Event,
    ) -> None:
        self._queue = queue
        self._poison = poison
        self._handler = handler
        self._options = options.queue
        self._lock_s = options.lock_s
        self._bell = bell
        self._stopping = asyncio.Event()
        self._settled = asyncio.Event()
        self._ended = asyncio.Event()
        self._in_flight: dict[asyncio.Task[None], LockedMessage] = {}
        self._outage = OutageLog(f"queue {queue.queue_name}")

    @property
    def in_flight(self) -> int:
        """Messages received and not yet settled."""
        return len(self._in_flight)

    async def run(self) -> None:
        """Poll until `stop()`; returns when no message is being fetched, some may still run."""
        try:
            await self._poll()
        finally:
            self._ended.set()

    def stop(self) -> None:
        """Receive no more; what is in flight goes on."""
        self._stopping.set()

    async def drained(self) -> None:
        """After `stop()`: return when nothing is received any more and nothing is in flight."""
        await self._ended.wait()
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    async def give_back(self) -> None:
        """Release whatever still runs, so that another host gets it at once and not after the lock."""
        unfinished = list(self._in_flight.values())
        await asyncio.gather(*(message.release(0) for message in unfinished), return_exceptions=True)

    async def _poll(self) -> None:
        backoff = Backoff(self._options.max_polling_interval.total_seconds())
        while not self._stopping.is_set():
            await self._wait_for_room()
            if self._stopping.is_set():
                return
            self._bell.clear()
            try:
                messages = await self._receive()
            except Exception as error:
                await self._rest_after(error, backoff)
                continue
            self._outage.answered()
            if messages:
                backoff.reset()
                self._start(messages)
            else:
                await pause(backoff.next_s(), self._stopping, self._bell)

    async def _wait_for_room(self) -> None:
        while len(self._in_flight) > self._options.new_batch_threshold and not self._stopping.is_set():
            self._settled.clear()
            # Wakes by itself once in a while only so that `stop` is seen.
            await pause(0.5, self._settled, self._stopping)

    async def _receive(self) -> list[QueueMessage]:
        count = self._options.batch_size
        pages = self._queue.receive_messages(
            messages_per_page=count, max_messages=count, visibility_timeout=round(self._lock_s)
        )
        return [message async for message in pages]

    async def _rest_after(self, error: Exception, backoff: Backoff) -> None:
        if is_missing(error):
            self._outage.answered()
            await pause(backoff.next_s(), self._stopping, self._bell)
            return
        self._outage.failed(error)
        backoff.reset()
        await pause(OUTAGE_POLL_S, self._stopping)

    def _start(self, messages: list[QueueMessage]) -> None:
        for message in messages:
            locked = LockedMessage(self._queue, message, self._lock_s, self._outage)
            task = asyncio.create_task(self._process(message, locked))
            self._in_flight[task] = locked
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._in_flight[task]
        self._settled.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("a message could not be settled, it will run again", exc_info=task.exception())

    async def _process(self, message: QueueMessage, locked: LockedMessage) -> None:
        tries = message.dequeue_count or 1
        if tries > self._options.max_dequeue_count:
            await locked.set_aside(self._poison)
            return
        try:
            body = self._decode(message)
        except ValueError as error:
            log.error("message %s cannot be decoded: %s", message.id, error)
            await locked.set_aside(self._poison)
            return
        async with locked.kept_locked():
            succeeded = await self._handler(message, body)
        if succeeded:
            await locked.delete()
        elif tries >= self._options.max_dequeue_count:
            await locked.set_aside(self._poison)
        else:
            await locked.release(round(self._options.visibility_timeout.total_seconds()))

    def _decode(self, message: QueueMessage) -> bytes:
        text = message.content or ""
        if not self._options.base64:
            return text.encode("utf-8")
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError("it is not base64, as host.json's messageEncoding asks for") from error
