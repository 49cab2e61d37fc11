"""Runs partitions: an asyncio task each, between the Faust agent that brings chunks and the stores.

CPU work runs on the event loop (it is numpy and short), storage calls on threads. While a partition cannot store
what it owes it takes no further chunk, so an outage fills the bounded queues and then stops the fetching.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from faust.types import TP

from models.errors import BadInput, ConfigurationError, Conflict, TryLater
from stream.decode import Chunk
from stream.steps import Steps, StorageRewound

log = logging.getLogger(__name__)

# Enough that a partition that is storing does not hold up the one agent, and with it the others.
_QUEUED_CHUNKS = 6
_TICK_S = 0.1
# The partition's end counts as watched only while fetches keep answering and this process keeps running.
_WATCH_GAP_S = 5.0
_RESTING_S = 1.0
_VERIFY_S = 2.0
_CRASHED = 70


@dataclass(frozen=True, slots=True)
class Tail:
    """What the consumer knows of a partition's end; `polled_at` is when (epoch seconds)."""

    end_offset: int
    polled_at: float


@dataclass(frozen=True, slots=True)
class Broker:
    """What workers ask of the consumer."""

    seek: Callable[[TP, int], Awaitable[None]]
    tail: Callable[[TP], Tail | None]


class PartitionWorker:
    """Feeds one partition and stores its results when due."""

    def __init__(self, tp: TP, partition: Steps, broker: Broker, checkpointing: asyncio.Lock) -> None:
        self._checkpointing = checkpointing
        self.tp = tp
        self.partition = partition
        self._broker = broker
        self._queue: asyncio.Queue[Chunk] = asyncio.Queue(_QUEUED_CHUNKS)
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._gap: tuple[int, int] | None = None
        self._watched_since: float | None = None
        self._last_tick = time.monotonic()
        self._restored_at = 0.0
        self._busy_at = self._verified_at = 0.0

    async def start(self) -> int:
        """Restore the partition and begin; the offset to read from. Waits while storage is away."""
        offset = await self._restore()
        self._task = asyncio.create_task(self._run(), name=f"{self.tp.topic} {self.tp.partition}")
        self._task.add_done_callback(_crash_on_error)
        return offset

    async def put(self, chunk: Chunk) -> None:
        """Hand over a chunk; waits while the partition is behind. Dropped once the worker stops."""
        if not self._stopped:
            await self._queue.put(chunk)

    async def stop(self, *, store: bool) -> None:
        """End the task; with `store`, leave a fresh checkpoint to the next owner if storage answers at once."""
        self._stopped = True
        # Whoever waits in `put` must not wait for ever: the one agent serves all partitions.
        self._drop_queued()
        if self._task is None:
            return
        # Never cancelled: a storage call on a thread would go on beside the checkpoint below.
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        if store:
            try:
                async with self._checkpointing:
                    await asyncio.to_thread(self.partition.checkpoint)
            except (Conflict, StorageRewound, TryLater) as error:
                log.info("%s: left without a fresh checkpoint: %s", self.tp, error)

    async def _run(self) -> None:
        while not self._stopped:
            chunk = await self._next_chunk()
            if chunk is not None:
                if not await self._follows(chunk):
                    continue
                self.partition.process(chunk)
                self._busy_at = time.monotonic()
            self._watch_end(got_chunk=chunk is not None)
            await self._store_due(caught_up=chunk is None)

    async def _next_chunk(self) -> Chunk | None:
        try:
            return await asyncio.wait_for(self._queue.get(), _TICK_S)
        except TimeoutError:
            return None

    async def _follows(self, chunk: Chunk) -> bool:
        """Whether the chunk goes on where the partition stands; if records are missing, seek and see.

        A gap that shows twice is the log's own (retention removed it); a gap that does not was a stale fetch.
        """
        expected, first = self.partition.next_offset, int(chunk.offset[0])
        if first <= expected:
            self._gap = None
            return True
        if self._gap == (expected, first):
            log.warning("%s: offsets %d to %d are no longer in the log", self.tp, expected, first - 1)
            self._gap = None
            return True
        self._gap = (expected, first)
        await self._rewind(expected)
        return False

    async def _rewind(self, offset: int) -> None:
        self._drop_queued()
        await self._broker.seek(self.tp, offset)

    def _drop_queued(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()

    def _watch_end(self, *, got_chunk: bool) -> None:
        """Measure how long the partition's end has been watched without a new event, for idle closes.

        A worker that was frozen, or cut off from the hub, has not watched: it starts again from zero.
        """
        now, tail = time.monotonic(), self._broker.tail(self.tp)
        if tail is not None and tail.polled_at > self._restored_at and tail.end_offset < self.partition.next_offset:
            raise ConfigurationError(
                f"{self.tp}: the checkpoint says {self.partition.next_offset} events were read, but the log ends at "
                f"{tail.end_offset}: the hub was recreated under a kept checkpoint, or its log was cut (what was cut "
                "lies beside it as *.cut-*). Restore the log, or give up both (on a laptop: penstock down --wipe)."
            )
        frozen = now - self._last_tick > _WATCH_GAP_S
        self._last_tick = now
        at_end = (
            tail is not None
            and tail.end_offset <= self.partition.next_offset
            and time.time() - tail.polled_at < _WATCH_GAP_S
        )
        if got_chunk or frozen or not at_end:
            self._watched_since = None
        elif self._watched_since is None:
            self._watched_since = now
        else:
            self.partition.close_idle(now - self._watched_since)

    async def _store_due(self, *, caught_up: bool) -> None:
        """Store what is due; on an outage try again until it works, on a lost race start from the checkpoint."""
        reported = False
        while not self._stopped:
            resting = time.monotonic() - self._busy_at > _RESTING_S
            try:
                checkpoint_due = self.partition.checkpoint_due(resting=resting)
                if self.partition.hand_over_due(caught_up=caught_up):
                    await asyncio.to_thread(self.partition.hand_over)
                if checkpoint_due or self.partition.archive_due():
                    await asyncio.to_thread(self.partition.archive)
                if checkpoint_due:
                    # One at a time, since each holds a copy of its partition's state; what needs none comes before.
                    async with self._checkpointing:
                        await asyncio.to_thread(self.partition.checkpoint)
                if resting and self.partition.unsettled and time.monotonic() - self._verified_at > _VERIFY_S:
                    # Busy partitions notice a loss when they write next; a quiet one has to look.
                    await asyncio.to_thread(self.partition.verify)
                    self._verified_at = time.monotonic()
            except TryLater as error:
                if not reported:
                    log.warning("%s: storage is away, waiting: %s", self.tp, error)
                    reported = True
                await asyncio.sleep(error.retry_after_s)
            except (Conflict, StorageRewound) as error:
                log.warning("%s: starting again from the checkpoint: %s", self.tp, error)
                await self._rewind(await self._restore())
                return
            else:
                if reported:
                    log.warning("%s: storage is back", self.tp)
                return

    async def _restore(self) -> int:
        reported = False
        while True:
            try:
                offset = await asyncio.to_thread(self.partition.restore)
                self._restored_at = time.time()
                return offset
            except TryLater as error:
                if not reported:
                    log.warning("%s: storage is away, waiting to restore: %s", self.tp, error)
                    reported = True
                await asyncio.sleep(error.retry_after_s)
            except BadInput as error:
                raise ConfigurationError(
                    f"{self.tp}: stored state cannot be read, and going on without it would double windows: {error}"
                ) from error


class Workers:
    """The workers of all assigned partitions; the transport's PositionKeeper."""

    def __init__(self, make_partition: Callable[[TP], Steps], broker: Broker) -> None:
        self._make_partition = make_partition
        self._broker = broker
        self.running: dict[TP, PartitionWorker] = {}
        self._checkpointing = asyncio.Lock()

    async def assigned(self, partitions: set[TP]) -> Mapping[TP, int]:
        """Start a worker per partition, anew even where one runs: its position is then the checkpoint's."""
        await self.revoked(set(self.running) - partitions)
        await asyncio.gather(*(self.running.pop(tp).stop(store=False) for tp in partitions & set(self.running)))
        workers = {
            tp: PartitionWorker(tp, self._make_partition(tp), self._broker, self._checkpointing) for tp in partitions
        }
        try:
            offsets = await asyncio.gather(*(worker.start() for worker in workers.values()))
        except ConfigurationError as error:
            log.critical("%s", error)
            os._exit(_CRASHED)
        self.running.update(workers)
        return dict(zip(workers, offsets, strict=True))

    async def revoked(self, partitions: set[TP]) -> None:
        """Stop the partitions' workers, leaving fresh checkpoints."""
        gone = [self.running.pop(tp) for tp in partitions if tp in self.running]
        await asyncio.gather(*(worker.stop(store=True) for worker in gone))

    def safe_offsets(self) -> Mapping[TP, int]:
        """The checkpoints' offsets."""
        return {tp: worker.partition.checkpoint_offset for tp, worker in self.running.items()}

    async def put(self, tp: TP, chunk: Chunk) -> None:
        """Hand a chunk to its partition's worker; dropped if the partition is no longer ours."""
        worker = self.running.get(tp)
        if worker is not None:
            await worker.put(chunk)


def _crash_on_error(task: asyncio.Task[None]) -> None:
    """A bug in one partition must not go unnoticed: end the process, its supervisor starts a new one."""
    if not task.cancelled() and task.exception() is not None:
        log.critical("%s failed", task.get_name(), exc_info=task.exception())
        os._exit(_CRASHED)
