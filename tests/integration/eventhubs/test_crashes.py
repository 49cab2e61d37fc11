from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.local.eventhubs.testing import RunningHub, running_hub

from .clients import read_aiokafka

pytestmark = pytest.mark.integration
PARTITIONS = 4


class Load:
    """An idempotent producer that sends numbered events from a thread of its own, and notes what was acknowledged."""

    def __init__(self, hub: RunningHub) -> None:
        self.acknowledged: list[int] = []
        self.failed: list[KafkaError] = []
        self._sent = 0
        self._stop = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": hub.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 1,
                "retry.backoff.ms": 20,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while not self._stop.is_set():
            while len(self._producer) < 5_000 and not self._stop.is_set():
                self._producer.produce(
                    "readings", b"%d" % self._sent, partition=self._sent % PARTITIONS, on_delivery=self._delivered
                )
                self._sent += 1
                self._producer.poll(0)
            self._producer.poll(0.01)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed.append(error)
        else:
            self.acknowledged.append(int(message.value() or b""))

    def wait_for_progress(self) -> None:
        """Return when the hub acknowledges again: a client takes a while to come back."""
        before = len(self.acknowledged)
        deadline = time.monotonic() + 20
        while len(self.acknowledged) == before:
            assert time.monotonic() < deadline, "the producer never came back"
            time.sleep(0.005)

    def finish(self) -> int:
        """Stop, wait for all acknowledgements, and return how many events were sent."""
        self._stop.set()
        self._thread.join()
        assert self._producer.flush(30) == 0
        return self._sent


async def crash_under_load(data_dir: Path, kills: int, chance: random.Random, *, torn: bool) -> None:
    with running_hub(data_dir, {"readings": PARTITIONS}, segment_bytes=100_000) as hub:
        load = Load(hub)
        for _ in range(kills):
            load.wait_for_progress()
            time.sleep(chance.uniform(0, 0.3))
            hub.kill()
            if torn:
                tear_a_tail(data_dir, chance)
            hub.restart()
        load.wait_for_progress()
        sent = load.finish()
        assert load.failed == []
        assert len(load.acknowledged) == sent > 100 * kills
        seen = await read_aiokafka(hub.bootstrap, "readings", PARTITIONS, sent)
        counts = Counter(int(each.event.value) for each in seen)
        assert [number for number in load.acknowledged if not counts[number]] == [], "lost"
        assert [number for number, times in counts.items() if times > 1] == [], "doubled"
        for partition in range(PARTITIONS):
            mine = [int(each.event.value) for each in seen if each.partition == partition]
            assert mine == sorted(mine), "out of order"


def tear_a_tail(data_dir: Path, chance: random.Random) -> None:
    """Leave behind what a write cut short leaves: the beginning of a batch."""
    partition = next((data_dir / "topics").iterdir()) / str(chance.randrange(PARTITIONS))
    last = max(partition.glob("*.log"))
    whole = last.read_bytes()
    with last.open("ab") as file:
        file.write(whole[: chance.randrange(1, max(2, min(len(whole), 90)))])


async def test_kills_under_load_lose_nothing_acknowledged_and_double_nothing(tmp_path: Path) -> None:
    await crash_under_load(tmp_path / "data", 3, random.Random(1), torn=True)


@pytest.mark.scheduled
@pytest.mark.parametrize("torn", [False, True])
async def test_twenty_kills_under_load_lose_nothing_acknowledged_and_double_nothing(
    tmp_path: Path, torn: bool
) -> None:
    await crash_under_load(tmp_path / "data", 20, random.Random(2), torn=torn)


async def test_a_compacted_topic_survives_kills_during_compaction_with_its_last_values(tmp_path: Path) -> None:
    chance = random.Random(11)
    options = {"retention_check_s": 0.05, "compaction_bytes": 20_000, "segment_bytes": 30_000}
    with running_hub(tmp_path / "data", **options) as hub:
        admin = AdminClient({"bootstrap.servers": hub.bootstrap})
        admin.create_topics([NewTopic("table", 1, config={"cleanup.policy": "compact"})])["table"].result(10)
        expected: dict[bytes | None, bytes] = {}
        kills = 6
        for life in range(kills + 1):
            producer = Producer({"bootstrap.servers": hub.bootstrap, "batch.num.messages": 5, "linger.ms": 1})
            for number in range(1500):
                key, value = b"k%d" % chance.randrange(200), b"%d-%d" % (life, number)
                producer.produce("table", value, key=key)
                expected[key] = value
            assert producer.flush(20) == 0
            if life < kills:
                time.sleep(chance.uniform(0, 0.15))
                hub.kill()
                hub.restart()
        seen: dict[bytes | None, bytes] = {}
        sent_last = max(expected.values(), key=order_of)
        for each in await read_aiokafka(hub.bootstrap, "table", 1, 10**6, sent_last):
            seen[each.event.key] = each.event.value
        assert seen == expected
        assert "bytes freed" in hub.stderr


def order_of(value: bytes) -> tuple[int, int]:
    life, _, number = value.partition(b"-")
    return int(life), int(number)
