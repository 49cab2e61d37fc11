from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from infra.local.eventhubs.errors import StorageFailed
from infra.local.eventhubs.log import flush as flush_module
from infra.local.eventhubs.log.flush import Flusher, FlushJob
from infra.local.eventhubs.log.partition import PartitionLog
from infra.local.eventhubs.log.segment import Segment
from infra.local.eventhubs.settings import LogSettings

from .batches import make_batch, records_of

NOW_MS = 1_700_000_000_000


class SlowDisk:
    """Flushes wait until they are let through, and are counted; `error` makes them fail."""

    def __init__(self) -> None:
        self.flushes = 0
        self.through = threading.Event()
        self.error: OSError | None = None

    def sync(self, segment: Segment) -> None:
        assert self.through.wait(10)
        self.flushes += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    disk = SlowDisk()
    monkeypatch.setattr(Segment, "sync", lambda segment: disk.sync(segment))
    yield disk
    disk.through.set()


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[PartitionLog]:
    flusher = Flusher("group", 0)
    (tmp_path / f"{0:020d}.log").touch()  # so that opening needs no flush
    log = PartitionLog(tmp_path, LogSettings(), flusher)
    yield log
    await flusher.close()
    log.close()


async def test_nothing_is_acknowledged_or_readable_before_the_flush(disk: SlowDisk, log: PartitionLog) -> None:
    appended = log.append(make_batch(b"a"), NOW_MS)
    waiting = asyncio.create_task(log.settled(appended))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert (log.high_watermark, log.end_offset, log.read(0, 1000)) == (0, 1, b"")
    disk.through.set()
    await waiting
    assert records_of(log.read(0, 1000))[0].value == b"a"


async def test_appends_that_come_during_a_flush_share_the_next_one(disk: SlowDisk, log: PartitionLog) -> None:
    first = log.append(make_batch(b"first"), NOW_MS)
    await asyncio.sleep(0.05)
    others = [log.append(make_batch(b"other"), NOW_MS) for _ in range(50)]
    disk.through.set()
    await asyncio.gather(*(log.settled(each) for each in (first, *others)))
    assert disk.flushes == 2


async def test_a_repeated_batch_is_acknowledged_only_after_the_flush_of_its_first_copy(
    disk: SlowDisk, log: PartitionLog
) -> None:
    batch = make_batch(b"a", producer_id=1, epoch=0, sequence=0)
    log.append(batch, NOW_MS)
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(log.settled(log.append(batch, NOW_MS)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    disk.through.set()
    await waiting


async def test_readers_are_woken_by_the_flush(disk: SlowDisk, log: PartitionLog) -> None:
    woken = asyncio.Event()
    log.watchers.add(woken.set)
    log.append(make_batch(b"a"), NOW_MS)
    assert not woken.is_set()
    disk.through.set()
    await asyncio.wait_for(woken.wait(), 5)


async def test_after_a_failed_flush_nothing_is_acknowledged_until_a_restart(
    disk: SlowDisk, log: PartitionLog
) -> None:
    disk.error = OSError(errno.EIO, os.strerror(errno.EIO))
    disk.through.set()
    appended = log.append(make_batch(b"a"), NOW_MS)
    with pytest.raises(StorageFailed, match="restart the hub"):
        await log.settled(appended)
    disk.error = None
    with pytest.raises(StorageFailed, match="restart the hub"):
        log.append(make_batch(b"b"), NOW_MS)
    assert log.high_watermark == 0


async def test_an_interval_policy_acknowledges_at_once_and_flushes_later(disk: SlowDisk, tmp_path: Path) -> None:
    disk.through.set()
    flusher = Flusher("interval", 0.05)
    log = PartitionLog(tmp_path / "interval", LogSettings(fsync="interval"), flusher)
    disk.flushes = 0
    await log.settled(log.append(make_batch(b"a"), NOW_MS))
    assert (log.high_watermark, disk.flushes) == (1, 0)
    await asyncio.sleep(0.3)
    assert disk.flushes == 1
    await flusher.close()
    log.close()


class Target:
    """Something to flush that notes on which thread it was."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def begin_flush(self) -> FlushJob:
        return FlushJob(lambda: self.threads.append(threading.get_ident()), lambda _: None)


async def test_a_disk_is_flushed_on_the_loop_only_while_it_is_proved_to_be_quick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flusher, target, loop_thread = Flusher("group", 0), Target(), threading.get_ident()

    async def rounds(count: int) -> list[bool]:
        target.threads.clear()
        for _ in range(count):
            await flusher.settled(flusher.mark(target))
        return [thread == loop_thread for thread in target.threads]

    monkeypatch.setattr(flush_module, "_QUICK_S", 60.0)
    assert await rounds(20) == [False] * 16 + [True] * 4
    monkeypatch.setattr(flush_module, "_QUICK_S", -1.0)
    assert await rounds(3) == [True, False, False]
    await flusher.close()


async def test_what_waits_for_a_round_is_called_even_if_another_of_it_fails() -> None:
    flusher, called = Flusher("group", 0), []
    ticket = flusher.mark(Target())
    assert ticket is not None
    ticket.then(lambda: called.append(1 // 0))
    ticket.then(lambda: called.append(2))
    await flusher.settled(ticket)
    ticket.then(lambda: called.append(3))
    assert called == [2, 3]
    await flusher.close()
