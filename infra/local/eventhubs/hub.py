"""The hub as its endpoints see it: topics, partitions, groups, offsets. It knows no protocol."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import CannotStart, StorageFailed, UnknownTopic
from .groups.coordinator import Coordinator
from .housekeeping import housekeep
from .log.files import sync_directory
from .log.flush import Flusher
from .log.partition import PartitionLog
from .offsets import OffsetStore
from .producer_ids import ProducerIds
from .settings import HubSettings
from .throughput import Throughput
from .topic_configs import effective
from .topics import Catalogue, Topic

_log = logging.getLogger(__name__)


def wall_clock_ms() -> int:
    """Now, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Hub:
    """One data directory, open. To be made, used and closed on one event loop.

    Opening recovers: it cuts what a crash left unfinished, and raises CannotStart for what it cannot put right.
    """

    def __init__(self, settings: HubSettings, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        self.settings = settings
        self.clock_ms = clock_ms
        self.started_ms = clock_ms()
        units = settings.throughput_units
        self.throughput = Throughput(units) if units is not None else None
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = lock_data_dir(settings.data_dir)
        self.cluster_id = _cluster_id(settings.data_dir)
        try:
            self._open()
        except BaseException:
            os.close(self._lock)
            raise
        self._closing = threading.Event()
        self._housekeeping = asyncio.get_running_loop().create_task(housekeep(self, self._closing))

    def _open(self) -> None:
        settings, data_dir = self.settings, self.settings.data_dir
        self._flusher = Flusher(settings.log.fsync, settings.log.fsync_interval_s)
        self.catalogue = Catalogue(
            data_dir / "topics.journal", self._flusher, settings.max_partitions, settings.namespace.tier
        )
        self.offsets = OffsetStore(data_dir / "offsets.journal", self._flusher)
        self.producer_ids = ProducerIds(data_dir / "producer-ids.journal", self._flusher)
        self.coordinator = Coordinator(settings.groups)
        self._topics_dir = data_dir / "topics"
        self._topics_dir.mkdir(exist_ok=True)
        self._remove_leftovers()
        self._logs: dict[tuple[str, int], PartitionLog] = {}
        for topic in self.catalogue.topics.values():
            self._open_partitions(topic)
        for name, partitions in settings.hubs.items():
            self._have(name, partitions)

    def _remove_leftovers(self) -> None:
        """Finish the deletions that a crash interrupted."""
        for directory in self.catalogue.deleted_directories:
            shutil.rmtree(self._topics_dir / directory, ignore_errors=True)
        for topic in self.offsets.topics() - self.catalogue.topics.keys():
            self.offsets.forget_topic(topic)

    def _have(self, name: str, partitions: int) -> None:
        topic = self.catalogue.topics.get(name)
        if topic is None:
            self.create_topic(name, partitions, {})
        elif topic.partitions < partitions:
            self.grow_topic(name, partitions)
        elif topic.partitions > partitions:
            _log.warning("%s keeps its %d partitions: they can only become more", name, topic.partitions)

    def _open_partitions(self, topic: Topic) -> None:
        for index in range(topic.partitions):
            if (topic.name, index) not in self._logs:
                self._logs[topic.name, index] = PartitionLog(
                    self._topics_dir / topic.directory / str(index),
                    effective(self.settings.log, topic, self.settings.namespace.tier),
                    self._flusher,
                )

    def partition(self, topic: str, index: int) -> PartitionLog:
        """The log of one partition, or UnknownTopic."""
        try:
            return self._logs[topic, index]
        except KeyError:
            raise UnknownTopic(f"there is no partition {index} of a topic {topic!r}") from None

    def create_topic(self, name: str, partitions: int, configs: dict[str, str]) -> Topic:
        """Add a topic; durable on return. -1 partitions means the default number."""
        count = self.settings.default_partitions if partitions == -1 else partitions
        return self._put(self.catalogue.plan(name, count, configs))

    def grow_topic(self, name: str, partitions: int) -> Topic:
        """Give a topic more partitions; durable on return."""
        return self._put(self.catalogue.plan_growth(name, partitions))

    def _put(self, topic: Topic) -> Topic:
        # Its folders come first: a topic in the catalogue can always be written to.
        try:
            self._open_partitions(topic)
            sync_directory(self._topics_dir / topic.directory)
            sync_directory(self._topics_dir)
        except OSError as error:
            raise StorageFailed(f"{self._topics_dir}: {error.strerror}; topic not created") from error
        self.catalogue.put(topic)
        return topic

    async def delete_topic(self, name: str) -> None:
        """Remove a topic with its records and committed offsets."""
        topic = self.catalogue.delete(name)
        for index in range(topic.partitions):
            log = self._logs.pop((name, index))
            log.close()
            for wake in tuple(log.watchers):
                wake()
        self.offsets.forget_topic(name)
        await asyncio.to_thread(shutil.rmtree, self._topics_dir / topic.directory, ignore_errors=True)

    def configure_topic(self, name: str, configs: dict[str, str]) -> Topic:
        """Give a topic exactly these settings, at once; durable on return. InvalidConfig says what is wrong."""
        topic = self.catalogue.plan_configs(name, configs)
        self.catalogue.put(topic)
        for index in range(topic.partitions):
            self._logs[name, index].configure(effective(self.settings.log, topic, self.settings.namespace.tier))
        return topic

    def logs(self) -> Iterator[tuple[Topic, int, PartitionLog]]:
        """Every partition; topics may come and go while the caller goes through them."""
        for (name, index), log in tuple(self._logs.items()):
            topic = self.catalogue.topics.get(name)
            if topic is not None and self._logs.get((name, index)) is log:
                yield topic, index, log

    async def close(self) -> None:
        """Flush everything and give the data directory back."""
        self._closing.set()
        self._housekeeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._housekeeping
        self.coordinator.close()
        await self._flusher.close()
        for log in self._logs.values():
            log.close()
        for journal in (self.catalogue, self.offsets, self.producer_ids):
            journal.close()
        os.close(self._lock)


def lock_data_dir(data_dir: Path) -> int:
    """The open lock file of a data directory that no other process serves, or CannotStart."""
    fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise CannotStart(f"another hub serves {data_dir}: stop it, or choose another data directory") from None
    return fd


def _cluster_id(data_dir: Path) -> str:
    path = data_dir / "cluster-id"
    if not path.exists():
        path.write_text(f"eventhubs-local-{uuid.uuid4().hex[:12]}")
    return path.read_text()
