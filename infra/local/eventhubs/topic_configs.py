"""The settings of a topic, by Kafka's names: which there are, their values, which of them the hub honours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from .errors import InvalidConfig
from .settings import LogSettings
from .tiers import Tier

if TYPE_CHECKING:
    from .topics import Topic  # topics imports the check below

DAY_MS = 24 * 3600 * 1000


def _at_least(least: int) -> Callable[[str], bool]:
    def fits(value: str) -> bool:
        try:
            return int(value) >= least
        except ValueError:
            return False

    return fits


def _one_of(*values: str) -> Callable[[str], bool]:
    return lambda value: value in values


def _is_policy(value: str) -> bool:
    return bool(value) and {each.strip() for each in value.split(",")} <= {"compact", "delete"}


_HONOURED: dict[str, Callable[[str], bool]] = {
    "cleanup.policy": _is_policy,
    "compression.type": _one_of("producer"),
    "delete.retention.ms": _at_least(0),
    "max.message.bytes": _at_least(1),
    "message.timestamp.type": _one_of("LogAppendTime", "CreateTime"),  # Event Hubs stamps append time whatever is set
    "min.insync.replicas": _one_of("1"),
    "retention.bytes": _at_least(-1),
    "retention.ms": _at_least(-1),
    "segment.bytes": _at_least(1),
}
_TAKEN_WITHOUT_EFFECT = frozenset(
    {
        "file.delete.delay.ms",
        "flush.messages",
        "flush.ms",
        "index.interval.bytes",
        "max.compaction.lag.ms",
        "message.downconversion.enable",
        "message.format.version",
        "message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms",
        "message.timestamp.difference.max.ms",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "preallocate",
        "segment.index.bytes",
        "segment.jitter.ms",
        "segment.ms",
        "unclean.leader.election.enable",
    }
)


def checked_configs(configs: dict[str, str], tier: Tier) -> dict[str, str]:
    """The settings, if the hub can honour them or they do not matter to it; otherwise InvalidConfig."""
    for name, value in configs.items():
        if name in _TAKEN_WITHOUT_EFFECT:
            continue
        if name not in _HONOURED:
            raise InvalidConfig(f"there is no topic setting {name!r}")
        if not _HONOURED[name](value):
            raise InvalidConfig(f"{name} cannot be {value!r}")
    if "compact" in configs.get("cleanup.policy", "") and not tier.compaction:
        raise InvalidConfig(f"the tier {tier.name} has no compaction")
    if "retention.ms" in configs and tier.max_retention_ms is not None:
        asked = int(configs["retention.ms"])
        compacted_only = configs.get("cleanup.policy") == "compact"
        if not compacted_only and tier.at_most_kept(asked) != asked:
            raise InvalidConfig(f"retention.ms: the tier {tier.name} keeps at most {tier.max_retention_ms} ms")
    return configs


def default_configs(limits: LogSettings) -> dict[str, str]:
    """What a topic has where nothing was set for it."""
    return {
        "cleanup.policy": "delete",
        "compression.type": "producer",
        "delete.retention.ms": str(DAY_MS),
        "max.message.bytes": str(limits.max_batch_bytes),
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "1",
        "retention.bytes": str(limits.retention_bytes),
        "retention.ms": str(limits.retention_ms),
        "segment.bytes": str(limits.segment_bytes),
    }


def effective(limits: LogSettings, topic: Topic, tier: Tier) -> LogSettings:
    """The hub's limits with the topic's own in their place; never more than the tier takes in one publication."""
    return dataclasses.replace(
        limits,
        segment_bytes=topic.limit("segment.bytes", limits.segment_bytes),
        max_batch_bytes=min(topic.limit("max.message.bytes", limits.max_batch_bytes), tier.max_publication_bytes),
        retention_ms=topic.limit("retention.ms", limits.retention_ms),
        retention_bytes=topic.limit("retention.bytes", limits.retention_bytes),
        needs_keys=topic.compacted,
    )
