from __future__ import annotations

import resource
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient

from infra.local.eventhubs.testing import HubDied, RunningHub, running_hub

from .clients import Event, produce_aiokafka, produce_confluent, read_confluent

pytestmark = pytest.mark.integration


def topics(hub: RunningHub) -> dict[str, int]:
    found = AdminClient({"bootstrap.servers": hub.bootstrap}).list_topics(timeout=5).topics
    return {name: len(topic.partitions) for name, topic in found.items()}


def produce_singly(hub: RunningHub, count: int) -> None:
    """As many batches of about 900 bytes."""
    producer = Producer({"bootstrap.servers": hub.bootstrap, "batch.num.messages": 1})
    for number in range(count):
        producer.produce("readings", b"%d" % number * 900)
    assert producer.flush(10) == 0


def test_it_has_the_asked_hubs_keeps_its_port_over_a_restart_and_stops_on_sigterm(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data", {"readings": 4, "others": 1}) as hub:
        assert topics(hub) == {"readings": 4, "others": 1}
        port = hub.port
        hub.restart()
        assert hub.port == port
        assert topics(hub) == {"readings": 4, "others": 1}
        started = time.monotonic()
        assert hub.stop() == 0
        assert time.monotonic() - started < 3


def test_a_hub_asked_for_with_more_partitions_grows_and_with_fewer_stays(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data", {"readings": 2}):
        pass
    with running_hub(tmp_path / "data", {"readings": 4}) as hub:
        assert topics(hub) == {"readings": 4}
    with running_hub(tmp_path / "data", {"readings": 1}) as hub:
        assert topics(hub) == {"readings": 4}
        assert "keeps its 4 partitions" in hub.stderr


@pytest.mark.parametrize("partitions", [2, 4])
async def test_unknown_topics_are_created_with_the_default_partitions_if_asked_to(
    tmp_path: Path, partitions: int
) -> None:
    with running_hub(tmp_path / "data", auto_create=True, default_partitions=partitions) as hub:
        await produce_aiokafka(hub.bootstrap, "new", [Event(None, b"v")], None)
        assert topics(hub) == {"new": partitions}


def test_a_second_hub_on_the_same_data_says_what_to_do(tmp_path: Path) -> None:
    with (
        running_hub(tmp_path / "data"),
        pytest.raises(HubDied, match=r"another hub serves .*: stop it, or choose another data directory"),
        running_hub(tmp_path / "data"),
    ):
        pass


def test_damage_in_an_earlier_segment_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data", {"readings": 1}, segment_bytes=1000) as hub:
        produce_singly(hub, 5)
    first = min((tmp_path / "data" / "topics").glob("readings.*/0/*.log"))
    first.write_bytes(first.read_bytes()[:-1])
    with (
        pytest.raises(HubDied, match=r"is damaged at byte .* Restore the file from a copy"),
        running_hub(tmp_path / "data"),
    ):
        pass


@pytest.mark.parametrize("arguments", [["--hub", "readings"], ["--hub", "a/b:2"], ["--hub", "readings:99"]])
def test_wrong_arguments_end_with_a_sentence_and_code_2(tmp_path: Path, arguments: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "infra.local.eventhubs", "serve", "--data", str(tmp_path / "data"), *arguments],
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr
    assert ended.stderr


@pytest.mark.parametrize("fsync", ["none", "interval"])
async def test_a_policy_that_does_not_wait_for_the_disk_survives_a_killed_process(tmp_path: Path, fsync: str) -> None:
    with running_hub(tmp_path / "data", {"readings": 2}, fsync=fsync) as hub:
        events = [Event(None, b"%d" % number) for number in range(100)]
        await produce_confluent(hub.bootstrap, "readings", events, None)
        hub.kill()
        hub.restart()
        seen = await read_confluent(hub.bootstrap, "readings", 2, 100)
        assert sorted(each.event for each in seen) == sorted(events)


async def test_old_segments_are_deleted_while_serving(tmp_path: Path) -> None:
    with running_hub(
        tmp_path / "data", {"readings": 1}, segment_bytes=1000, retention_bytes=2000, retention_check_s=0.1
    ) as hub:
        produce_singly(hub, 10)
        time.sleep(0.5)
        assert len(list((tmp_path / "data" / "topics").glob("readings.*/0/*.log"))) <= 4
        seen = await read_confluent(hub.bootstrap, "readings", 1, 3)
        assert seen[-1].offset == 9


async def test_a_full_disk_is_told_to_the_producer_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """A limit on the size of a file stands in for the end of the disk."""
    with running_hub(tmp_path / "data", {"readings": 1}, fsync="group", http_port=0) as hub:
        health = f"http://127.0.0.1:{hub.http_port}/health"
        events = [Event(None, b"%d" % number) for number in range(50)]
        await produce_confluent(hub.bootstrap, "readings", events, None)
        resource.prlimit(hub.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
        errors: list[KafkaError | None] = []
        producer = Producer({"bootstrap.servers": hub.bootstrap, "retries": 0, "log_level": 0})
        for _ in range(2):
            producer.produce("readings", b"x" * 30_000, on_delivery=lambda error, _: errors.append(error))
            producer.flush(10)
        assert [error.code() for error in errors if error] == [KafkaError.KAFKA_STORAGE_ERROR] * 2
        assert "nothing was stored" in hub.stderr
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(health, timeout=5)
        await produce_confluent(hub.bootstrap, "readings", [Event(None, b"small")], None)
        with urllib.request.urlopen(health, timeout=5) as answer:
            assert answer.status == 200
        hub.kill()
        hub.restart()
        seen = await read_confluent(hub.bootstrap, "readings", 1, 51)
        assert [each.event.value for each in seen] == [*(each.value for each in events), b"small"]


def test_an_idle_hub_is_small_and_quiet(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data", {"readings": 4}) as hub:
        status = Path(f"/proc/{hub.pid}/status").read_text()
        resident_kb = int(status.split("VmRSS:")[1].split()[0])
        assert resident_kb < 80_000
        before = _cpu_ticks(hub)
        time.sleep(2)
        assert _cpu_ticks(hub) - before <= 2, "more than 1 % of a processor"


def _cpu_ticks(hub: RunningHub) -> int:
    fields = Path(f"/proc/{hub.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
