"""Everything that can be set, as plain values; the command line is the only one that fills them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .namespace import Namespace

FsyncPolicy = Literal["none", "interval", "group"]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How the log is written and how long it is kept."""

    fsync: FsyncPolicy = "group"
    """`group` acknowledges after a flush shared by all waiting appends; `interval` and `none` acknowledge before."""
    fsync_interval_s: float = 0.2
    segment_bytes: int = 64 * 1024 * 1024
    index_interval_bytes: int = 4096
    max_batch_bytes: int = 1024 * 1024
    """Event Hubs takes at most 1 MB per publication."""
    retention_ms: int = 7 * 24 * 3600 * 1000
    """-1 keeps for ever; a topic's own `retention.ms` goes first."""
    retention_bytes: int = -1
    """Per partition; -1 is no limit; a topic's own `retention.bytes` goes first."""
    retention_check_s: float = 30.0
    needs_keys: bool = False
    """Whether a record without a key is refused, as by every compacted topic."""
    compaction_bytes: int = 1024 * 1024
    """A compacted partition is cleaned when as many bytes, and as many as it held then, came since the last time."""


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Limits and delays of consumer groups."""

    min_session_timeout_ms: int = 1_000
    """Far below the 6 s of Event Hubs: on a laptop a killed consumer is to be replaced in seconds."""
    max_session_timeout_ms: int = 1_800_000
    initial_rebalance_delay_ms: int = 100
    """How long the first member of an empty group waits for company, so that a fleet's start is one rebalance."""
    max_members: int = 1_000
    max_metadata_bytes: int = 1_024
    """Of a committed offset, as Event Hubs limits it."""


@dataclass(frozen=True, slots=True)
class HubSettings:
    """One hub process."""

    data_dir: Path
    hubs: dict[str, int] = field(default_factory=dict)
    """Topics to have at start: name to partition count."""
    host: str = "127.0.0.1"
    kafka_port: int = 0
    """0 takes a free port."""
    amqp_port: int = 0
    """0 takes a free port."""
    http_port: int | None = None
    """Status page, health and metrics; none by default."""
    advertised_host: str | None = None
    """What clients are told to connect to; by default the address they came in by."""
    auto_create: bool = False
    default_partitions: int = 4
    max_partitions: int = 32
    """Per topic, as the Standard tier allows."""
    only_gzip: bool = False
    """Whether other compressions are refused, as by Event Hubs."""
    throughput_units: int | None = None
    """Slow clients down as so many throughput units do; None does not."""
    max_frame_bytes: int = 32 * 1024 * 1024
    max_fetch_bytes: int = 16 * 1024 * 1024
    namespace: Namespace = field(default_factory=Namespace)
    log: LogSettings = LogSettings()
    groups: GroupSettings = GroupSettings()
