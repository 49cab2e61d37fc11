from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[3]

TESTS = """
from confluent_kafka.admin import AdminClient

def partitions(event_hub):
    topics = AdminClient({"bootstrap.servers": event_hub.bootstrap}).list_topics(timeout=5).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}

def test_one(event_hub, new_hub):
    mine = new_hub(partitions=3)
    assert partitions(event_hub)[mine] == 3

def test_two(event_hub, new_hub):
    mine = new_hub(cleanup_policy="compact")
    found = partitions(event_hub)
    assert (len(found), found[mine]) == (2, 1), "the run's tests share the hub, not the topics"
"""


def test_the_plugin_gives_a_run_a_hub_and_each_test_a_topic(tmp_path: Path) -> None:
    (tmp_path / "test_user.py").write_text(TESTS)
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path)),
            *("-p", "infra.local.eventhubs.pytest_plugin", str(tmp_path / "test_user.py")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "2 passed" in ended.stdout, ended.stdout + ended.stderr
