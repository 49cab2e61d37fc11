"""What each pricing tier of Event Hubs allows, and what the hub allows by itself.

Numbers: https://learn.microsoft.com/azure/event-hubs/compare-tiers (Premium: of one processing unit).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TierName = Literal["basic", "standard", "premium"]
_DAY_MS = 24 * 3600 * 1000
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Tier:
    """Limits of a namespace; None is no limit."""

    name: str
    max_hubs: int | None
    max_consumer_groups: int
    """Per hub, `$Default` included; groups of Kafka clients are others and not counted."""
    max_partitions: int
    """Per hub."""
    max_publication_bytes: int
    """Of one event or batch of events."""
    max_retention_ms: int | None
    kafka: bool
    compaction: bool

    def at_most_kept(self, retention_ms: int) -> int:
        """The retention, -1 for ever, cut to what the tier keeps."""
        if self.max_retention_ms is None:
            return retention_ms
        return self.max_retention_ms if retention_ms < 0 else min(retention_ms, self.max_retention_ms)


LOCAL = Tier("local", None, 20, 32, 1024 * _KIB, None, kafka=True, compaction=True)
"""Without `--tier`: sizes as in Standard, but as many hubs as Faust's changelogs need, kept as long as asked."""

TIERS: dict[str, Tier] = {
    "basic": Tier("basic", 10, 1, 32, 256 * _KIB, 1 * _DAY_MS, kafka=False, compaction=False),
    "standard": Tier("standard", 10, 20, 32, 1024 * _KIB, 7 * _DAY_MS, kafka=True, compaction=True),
    "premium": Tier("premium", 100, 100, 100, 1024 * _KIB, 90 * _DAY_MS, kafka=True, compaction=True),
}


def tier_of(name: str | None) -> Tier:
    """The tier of this name; `LOCAL` without one."""
    return LOCAL if name is None else TIERS[name]
