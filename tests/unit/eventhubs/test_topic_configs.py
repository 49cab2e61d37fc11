from __future__ import annotations

import uuid

import pytest

from infra.local.eventhubs.errors import InvalidConfig
from infra.local.eventhubs.settings import LogSettings
from infra.local.eventhubs.tiers import LOCAL, TIERS
from infra.local.eventhubs.topic_configs import checked_configs, default_configs, effective
from infra.local.eventhubs.topics import Topic


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cleanup.policy", "shred"),
        ("cleanup.policy", ""),
        ("compression.type", "zstd"),
        ("delete.retention.ms", "-1"),
        ("max.message.bytes", "0"),
        ("min.insync.replicas", "2"),
        ("retention.bytes", "-2"),
        ("retention.ms", "1.5"),
        ("segment.bytes", "many"),
        ("no.such.setting", "1"),
    ],
)
def test_what_cannot_be_honoured_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidConfig, match=name):
        checked_configs({name: value}, LOCAL)


def test_every_default_may_be_set() -> None:
    assert checked_configs(default_configs(LogSettings()), LOCAL)
    assert checked_configs({"segment.ms": "1", "cleanup.policy": "compact, delete"}, LOCAL)


def test_a_tier_limits_retention_and_compaction() -> None:
    eight_days = str(8 * 24 * 3600 * 1000)
    assert checked_configs({"retention.ms": eight_days}, TIERS["premium"])
    with pytest.raises(InvalidConfig, match="keeps at most"):
        checked_configs({"retention.ms": eight_days}, TIERS["standard"])
    assert checked_configs({"retention.ms": "-1", "cleanup.policy": "compact"}, TIERS["standard"])
    with pytest.raises(InvalidConfig, match="no compaction"):
        checked_configs({"cleanup.policy": "compact"}, TIERS["basic"])


def test_a_topics_own_limits_go_first_but_never_beyond_the_tiers_event_size() -> None:
    configs = {"segment.bytes": "5", "retention.ms": "6", "retention.bytes": "7", "max.message.bytes": "9999999"}
    limits = effective(LogSettings(), Topic("t", uuid.uuid4(), 1, configs), TIERS["standard"])
    assert (limits.segment_bytes, limits.retention_ms, limits.retention_bytes) == (5, 6, 7)
    assert limits.max_batch_bytes == 1024 * 1024
    assert not limits.needs_keys
    assert effective(LogSettings(), Topic("t", uuid.uuid4(), 1, {"cleanup.policy": "compact"}), LOCAL).needs_keys
