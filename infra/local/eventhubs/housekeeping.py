"""What the hub does by itself now and then: deleting what need not be kept, compacting what is compacted."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

from .errors import StorageFailed
from .log.compaction import Stopped
from .log.partition import PartitionLog
from .log.records import Unreadable
from .topic_configs import DAY_MS, effective
from .topics import Topic

if TYPE_CHECKING:
    from .hub import Hub  # the hub starts this

_log = logging.getLogger(__name__)


async def housekeep(hub: Hub, closing: threading.Event) -> None:
    """Look after every partition again and again, until cancelled; `closing` ends a compaction in its thread."""
    while True:
        await asyncio.sleep(hub.settings.log.retention_check_s)
        for topic, index, log in hub.logs():
            if log.failure is not None:
                continue  # what the disk holds is uncertain until a restart
            try:
                if topic.expires:
                    retain(hub, topic, index, log)
                if topic.compacted:
                    await compact(hub, topic, index, log, closing)
            except (OSError, StorageFailed) as error:
                _log.error("looking after %s/%d: %s", topic.name, index, error)


def retain(hub: Hub, topic: Topic, index: int, log: PartitionLog) -> None:
    """Delete the segments that are too old or too much."""
    limits = effective(hub.settings.log, topic, hub.settings.namespace.tier)
    removed = log.retain(hub.clock_ms(), limits.retention_ms, limits.retention_bytes)
    if removed:
        _log.info("%s/%d: %d old segments removed", topic.name, index, removed)


async def compact(hub: Hub, topic: Topic, index: int, log: PartitionLog, closing: threading.Event) -> None:
    """Keep the last record of each key, if enough was written since the last time."""
    delete_retention_ms = topic.limit("delete.retention.ms", DAY_MS)
    planned = log.plan_compaction(hub.clock_ms(), delete_retention_ms, closing.is_set)
    if planned is None:
        return
    try:
        replacements = await asyncio.to_thread(planned.run)
    except Unreadable as error:
        _log.warning("%s/%d is not compacted: a batch cannot be read (%s)", topic.name, index, error)
        return
    except Stopped:
        return
    freed = log.finish_compaction(replacements)
    _log.info("%s/%d: compacted, %d bytes freed", topic.name, index, freed)
