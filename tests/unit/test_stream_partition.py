"""A partition on in-memory stores: whatever dies or is lost, the stored results are those of an undisturbed run."""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from models import names
from models.contracts import BatchMessage, DeadLetter, Reason
from models.errors import Conflict, TryLater
from models.ports import Blob, BlobInfo
from models.tables import decode_batch, decode_readings
from models.windowspec import WindowSpec
from stream.config import StreamConfig
from stream.decode import Chunk, Unreadable
from stream.partition import Partition
from stream.steps import StorageRewound
from tests.fakes import FakeBlobs, FakeClock, FakeQueue

HUB = "readings"
SPECS = [WindowSpec(60, 60), WindowSpec(30, 10)]


def config(spec: WindowSpec = SPECS[0], **changes: float) -> StreamConfig:
    defaults: dict[str, float] = {"idle_after_s": 100.0, "batch_max_age_s": 1e-9}
    return StreamConfig(HUB, spec, **{**defaults, **changes})  # type: ignore[arg-type]  # ints are floats here


@dataclass
class Log:
    """Events of a partition. Append times are seconds; they never decrease."""

    bodies: list[bytes] = field(default_factory=list)
    append_s: list[float] = field(default_factory=list)

    def add(self, *items: object, at: float | None = None) -> None:
        self.append_s.append(at if at is not None else (self.append_s[-1] if self.append_s else 10_000.0))
        self.bodies.append(json.dumps(items[0] if len(items) == 1 else list(items)).encode())

    def chunk(self, start: int, end: int) -> Chunk:
        return Chunk(
            np.arange(start, end),
            np.array([round(s * 1e6) for s in self.append_s[start:end]], dtype=np.int64),
            self.bodies[start:end],
        )

    def __len__(self) -> int:
        return len(self.bodies)


def reading(device: str, ts: float, value: float = 1.0, sensor: str = "temp") -> dict[str, object]:
    return {"device": device, "sensor": sensor, "ts": ts, "value": value}


@dataclass
class UnreliableBlobs(FakeBlobs):
    """Fails before or after a write, at the throw of a die, while `chaos` is set."""

    chaos: random.Random | None = None

    def create(self, name: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> BlobInfo:
        return self._maybe(lambda: FakeBlobs.create(self, name, data, metadata=metadata))

    def replace(
        self, name: str, data: bytes, *, etag: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> BlobInfo:
        return self._maybe(lambda: FakeBlobs.replace(self, name, data, etag=etag, metadata=metadata))

    def _maybe(self, write: Callable[[], BlobInfo]) -> BlobInfo:
        roll = self.chaos.random() if self.chaos else 1.0
        if roll < 0.1:
            raise TryLater("lost before the write")
        info = write()
        if roll < 0.2:
            raise TryLater("lost after the write")
        return info


def partition(blobs: FakeBlobs, settings: StreamConfig, queue: FakeQueue | None = None) -> Partition:
    made = Partition(settings, 0, blobs, queue or FakeQueue(), FakeClock())
    made.restore()
    return made


def finish(part: Partition, log: Log) -> None:
    part.process(log.chunk(part.next_offset, len(log)))
    part.checkpoint()


def windows_in(blobs: FakeBlobs, spec: WindowSpec) -> list[tuple[object, ...]]:
    found = []
    for info in blobs.list(names.batch_prefix(HUB, spec, 0)):
        w = decode_batch(blobs.get(info.name).data).windows
        found += [
            (
                w.device[i],
                w.sensor[i],
                int(w.start_us[i]),
                int(w.count[i]),
                int(w.duplicates[i]),
                w.features[i].tobytes(),
            )
            for i in range(len(w))
        ]
    return sorted(found)


def segments(blobs: FakeBlobs) -> list[tuple[int, int]]:
    """First and last offset of each complete archive segment."""
    return [
        (int(info.name.rsplit("/", 1)[1].removesuffix(".parquet")), int(info.metadata["through"]))
        for info in blobs.list(names.raw_prefix(HUB))
    ]


def rows_of(blobs: FakeBlobs, name: str) -> list[tuple[object, ...]]:
    if blobs.head(name) is None:
        return []
    r = decode_readings(blobs.get(name).data)
    return list(zip(r.offset.tolist(), r.device, r.sensor, r.ts_us.tolist(), r.value.tolist(), strict=True))


def raw_readings(blobs: FakeBlobs) -> list[tuple[object, ...]]:
    return [row for first, _ in segments(blobs) for row in rows_of(blobs, names.raw_blob(HUB, 0, first))]


def late_readings(blobs: FakeBlobs) -> list[tuple[object, ...]]:
    return [row for segment in segments(blobs) for row in rows_of(blobs, names.late_blob(HUB, 0, *segment))]


def dead_letters(blobs: FakeBlobs) -> list[DeadLetter]:
    found = [names.dead_letter_blob(HUB, 0, *segment) for segment in segments(blobs)]
    return [
        msgspec.json.decode(line, type=DeadLetter)
        for name in found
        if blobs.head(name) is not None
        for line in blobs.get(name).data.splitlines()
    ]


def random_log(seed: int, events: int = 150) -> Log:
    rng, log = random.Random(seed), Log()
    clock, now = 10_000.0, 5_000.0
    for _ in range(events):
        clock += rng.choice([0, 0, 0.5, 2, 2, 130 if rng.random() < 0.1 else 1])
        now += rng.choice([0, 1, 2, 5, 20])
        roll = rng.random()
        device = rng.choice("abcd")
        if roll < 0.04:
            log.add({"device": device, "flush": True}, at=clock)
        elif roll < 0.08:
            log.add({"device": device}, at=clock)
        elif roll < 0.10:
            log.add(reading(device, clock + 1_000), at=clock)
        else:
            log.add(
                *(
                    reading(
                        device, now + rng.choice([0, 0.25, -3, -90 if rng.random() < 0.2 else -1]), rng.random(), s
                    )
                    for s in rng.sample(["temp", "load"], rng.randint(1, 2))
                ),
                at=clock,
            )
    for device in "abcd":
        log.add({"device": device, "flush": True}, at=clock)
    return log


def undisturbed(log: Log, settings: StreamConfig) -> FakeBlobs:
    blobs = FakeBlobs()
    finish(partition(blobs, settings), log)
    return blobs


def assert_same_results(blobs: FakeBlobs, expected: FakeBlobs, spec: WindowSpec) -> None:
    assert windows_in(blobs, spec) == windows_in(expected, spec)
    assert raw_readings(blobs) == raw_readings(expected)
    assert late_readings(blobs) == late_readings(expected)
    assert dead_letters(blobs) == dead_letters(expected)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("seed", range(12))
def test_crashes_lost_answers_and_any_chunking_change_no_result(seed: int, spec: WindowSpec) -> None:
    log, settings, rng = random_log(seed), config(spec), random.Random(seed)
    blobs = UnreliableBlobs(chaos=rng)
    part = Partition(settings, 0, blobs, FakeQueue(), FakeClock())
    part.restore()
    for _ in range(600):
        try:
            roll = rng.random()
            if roll < 0.06:
                part = Partition(settings, 0, blobs, FakeQueue(), FakeClock())
                part.restore()
            elif roll < 0.2:
                part.checkpoint()
            elif roll < 0.3:
                part.archive()
            elif roll < 0.5:
                part.hand_over()
            elif part.next_offset < len(log):
                part.process(log.chunk(part.next_offset, min(part.next_offset + rng.randint(1, 12), len(log))))
        except TryLater:
            pass
        except Conflict:
            part.restore()
    blobs.chaos = None
    for _ in range(3):
        try:
            finish(part, log)
            break
        except Conflict:
            part.restore()
    assert_same_results(blobs, undisturbed(log, settings), spec)


@pytest.mark.parametrize("seed", range(12))
def test_two_workers_on_one_partition_write_every_window_once(seed: int) -> None:
    log, settings, rng = random_log(seed), config(), random.Random(seed)
    blobs = FakeBlobs()
    rivals = [partition(blobs, settings), partition(blobs, settings)]
    for _ in range(400):
        part = rng.choice(rivals)
        try:
            roll = rng.random()
            if roll < 0.1:
                part.checkpoint()
            elif roll < 0.3:
                part.archive()
            elif roll < 0.5:
                part.hand_over()
            elif part.next_offset < len(log):
                part.process(log.chunk(part.next_offset, min(part.next_offset + rng.randint(1, 12), len(log))))
        except Conflict:
            part.restore()
    for part in rivals:
        try:
            finish(part, log)
        except Conflict:
            part.restore()
            finish(part, log)
    expected = undisturbed(log, settings)
    assert windows_in(blobs, settings.spec) == windows_in(expected, settings.spec)
    assert raw_readings(blobs) == raw_readings(expected)


@pytest.mark.parametrize("seed", range(12))
def test_a_store_that_loses_its_latest_writes_is_written_again(seed: int) -> None:
    log, settings, rng = random_log(seed), config(), random.Random(seed)
    blobs = FakeBlobs()
    part = partition(blobs, settings)
    saved: dict[str, Blob] = {}
    for _ in range(500):
        try:
            roll = rng.random()
            if roll < 0.05:
                saved = dict(blobs.blobs)
            elif roll < 0.08:
                blobs.blobs = dict(saved)
            elif roll < 0.15:
                part.checkpoint()
            elif roll < 0.3:
                part.archive()
            elif roll < 0.5:
                part.hand_over()
            elif part.next_offset < len(log):
                part.process(log.chunk(part.next_offset, min(part.next_offset + rng.randint(1, 12), len(log))))
        except (Conflict, StorageRewound):
            part.restore()
    for _ in range(5):
        try:
            finish(part, log)
        except (Conflict, StorageRewound):
            part.restore()
    assert_same_results(blobs, undisturbed(log, settings), settings.spec)


def test_a_window_closed_for_idleness_by_the_wall_clock_stays_closed_in_the_next_life() -> None:
    log, blobs = Log(), FakeBlobs()
    log.add(reading("a", 100.0), at=1_000.0)
    first_life = partition(blobs, config())
    first_life.process(log.chunk(0, 1))
    first_life.close_idle(silent_for_s=101.0)
    first_life.hand_over()
    log.add(reading("a", 101.0), at=1_050.0)  # the hub's clock says only 50 s went by
    second_life = partition(blobs, config())
    finish(second_life, log)
    assert [row[:4] for row in windows_in(blobs, SPECS[0])] == [("a", "temp", 60_000_000, 1)]
    assert [row[0] for row in late_readings(blobs)] == [1]


def test_a_quiet_partition_closes_nothing_before_idle_after() -> None:
    log, blobs = Log(), FakeBlobs()
    log.add(reading("a", 100.0), at=1_000.0)
    part = partition(blobs, config())
    part.process(log.chunk(0, 1))
    part.close_idle(silent_for_s=99.0)
    part.hand_over()
    assert windows_in(blobs, SPECS[0]) == []


def test_closed_windows_wait_for_cheaper_collecting_only_while_more_is_to_be_processed() -> None:
    log = Log()
    log.add(reading("a", 100.0), reading("a", 200.0), at=10_000.0)
    part = partition(FakeBlobs(), config())
    part._collect_cost_s = 1_000.0
    part.process(log.chunk(0, 1))
    assert not part.hand_over_due()
    assert part.hand_over_due(caught_up=True)


def test_each_batch_is_announced_and_an_adopted_one_again() -> None:
    log, blobs, queue = Log(), FakeBlobs(), FakeQueue()
    log.add(reading("a", 100.0), reading("a", 200.0), at=10_000.0)
    part = partition(blobs, config(), queue)
    part.process(log.chunk(0, 1))
    part.hand_over()
    partition(blobs, config(), queue)
    messages = [msgspec.json.decode(body, type=BatchMessage) for body in queue.bodies]
    assert (
        messages
        == [
            BatchMessage(
                hub=HUB, spec="tumbling-60s", partition=0, seq=0, rows=1, blob=names.batch_blob(HUB, SPECS[0], 0, 0)
            )
        ]
        * 2
    )


def test_one_fast_clock_is_set_aside_and_closes_nothing() -> None:
    log, blobs = Log(), FakeBlobs()
    log.add(reading("a", 10_000.0), at=10_000.0)
    log.add(reading("a", 10_301.0), at=10_000.0)
    log.add(reading("a", 10_001.0), at=10_000.0)
    part = partition(blobs, config())
    finish(part, log)
    [letter] = dead_letters(blobs)
    assert (letter.reason, letter.offset) == (Reason.AHEAD_OF_CLOCK, 1)
    assert "at most 300 s" in letter.detail
    assert part.status()["open_readings"] == 2


def test_devices_beyond_the_limit_are_set_aside_and_known_ones_go_on() -> None:
    log, blobs = Log(), FakeBlobs()
    log.add(*(reading(f"d{i}", 100.0) for i in range(5)), reading("d0", 101.0), at=10_000.0)
    part = partition(blobs, config(max_devices=3))
    finish(part, log)
    assert [letter.reason for letter in dead_letters(blobs)] == [Reason.TOO_MANY_DEVICES] * 2
    assert part.status()["open_readings"] == 4


def test_sensors_beyond_the_limit_are_set_aside_and_known_ones_go_on() -> None:
    log, blobs = Log(), FakeBlobs()
    log.add(*(reading("d", 100.0, sensor=f"s{i}") for i in range(5)), reading("d", 101.0, sensor="s1"), at=10_000.0)
    log.add(reading("d", 102.0, sensor="s4"), reading("d", 103.0, sensor="s0"))
    part = partition(blobs, config(max_series=3))
    finish(part, log)
    assert [letter.reason for letter in dead_letters(blobs)] == [Reason.TOO_MANY_SERIES] * 3
    assert part.status()["open_readings"] == 5


def test_an_event_of_nothing_but_rubbish_is_set_aside_in_a_few_letters() -> None:
    log, blobs = Log(), FakeBlobs()
    log.add(*[1] * 5_000, at=10_000.0)
    finish(partition(blobs, config()), log)
    letters = dead_letters(blobs)
    assert len(letters) == 101
    assert "4900 more items" in letters[-1].detail


def test_an_event_that_could_not_be_read_is_set_aside_with_its_reason() -> None:
    log, blobs = Log(), FakeBlobs()
    log.add(reading("a", 100.0), at=10_000.0)
    part = partition(blobs, config())
    part.process(log.chunk(0, 1))
    part.process(Chunk(np.array([1]), np.array([10_000_000_000]), [Unreadable("not gzip")]))
    part.checkpoint()
    assert [(letter.offset, letter.detail) for letter in dead_letters(blobs)] == [(1, "not gzip")]


def test_readings_beyond_the_limit_are_set_aside_until_windows_close() -> None:
    log, blobs = Log(), FakeBlobs()
    log.add(*(reading("a", 100.0 + i) for i in range(5)), at=10_000.0)
    log.add({"device": "a", "flush": True})
    log.add(reading("a", 300.0))
    part = partition(blobs, config(max_open_readings=3))
    part.process(log.chunk(0, 2))
    part.hand_over()
    part.process(log.chunk(2, 3))
    part.checkpoint()
    assert [letter.item for letter in dead_letters(blobs)] == [3, 4]
    assert [row[3] for row in windows_in(blobs, SPECS[0])] == [3]
    assert part.status()["open_readings"] == 1


def test_every_reading_is_in_a_window_or_late_or_a_duplicate_or_set_aside() -> None:
    for seed in range(20):
        log, blobs = random_log(seed), FakeBlobs()
        part = partition(blobs, config())
        finish(part, log)
        sent = sum(len(body) if isinstance(body := json.loads(raw), list) else 1 for raw in log.bodies)
        sent -= sum(b'"flush"' in raw for raw in log.bodies)
        windows = windows_in(blobs, SPECS[0])
        counted = sum(int(str(row[3])) + int(str(row[4])) for row in windows)
        assert sent == counted + part.counters.late + part.counters.dead_lettered + part.status()["open_readings"]
        assert part.counters.late == len(late_readings(blobs))
        assert part.counters.dead_lettered == len(dead_letters(blobs))


def test_of_two_readings_with_one_time_the_later_in_the_log_counts() -> None:
    log, blobs = Log(), FakeBlobs()
    log.add(reading("a", 100.0, 1.0), reading("a", 100.0, 2.0), {"device": "a", "flush": True}, at=10_000.0)
    part = partition(blobs, config())
    finish(part, log)
    [(_, _, _, count, duplicates, features)] = windows_in(blobs, SPECS[0])
    assert (count, duplicates, np.frombuffer(features)[0]) == (1, 1, 2.0)  # type: ignore[call-overload]
    assert part.counters.duplicates == 1


def test_a_rival_with_a_newer_checkpoint_is_noticed() -> None:
    log, blobs = random_log(1), FakeBlobs()
    mine, rival = partition(blobs, config()), partition(blobs, config())
    rival.process(log.chunk(0, 20))
    rival.checkpoint()
    mine.process(log.chunk(0, 30))
    with pytest.raises(Conflict):
        mine.checkpoint()


def _listed(blobs: FakeBlobs) -> Iterator[str]:
    return (info.name for info in blobs.list(""))


def test_nothing_new_means_no_checkpoint() -> None:
    log, blobs = random_log(2), FakeBlobs()
    part = partition(blobs, config(checkpoint_interval_s=1e-9))
    finish(part, log)
    assert not part.checkpoint_due()
    before = list(_listed(blobs))
    part.process(log.chunk(0, len(log)))
    assert not part.checkpoint_due()
    assert list(_listed(blobs)) == before
