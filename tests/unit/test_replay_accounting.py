"""A replay accounts for each of its readings from stored results alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest

from functions.alerts import CONTAINER, alert_id
from functions.folding import POSITION, FoldPosition
from infra.feed.history import by_device, packed
from infra.feed.replay import (
    NOTHING,
    NotAccounted,
    Sent,
    account,
    account_when_stored,
    check,
    send_histories,
    wait_until_stored,
)
from infra.feed.results import Progress, Results, ScoreCount
from models import names
from models.contracts import Alert, AlertStatus, DeadLetter, Reason
from models.errors import TryLater
from models.features import FEATURES
from models.ports import Blob, Put
from models.tables import Predictions, Readings, encode_predictions, encode_readings
from models.windowspec import WindowSpec
from tests.fakes import FakeBlobs, FakeState

SPEC = WindowSpec(60, 60)


def readings(*rows: tuple[str, str, int, float], offsets: list[int] | None = None) -> Readings:
    device, sensor, ts_us, value = zip(*rows, strict=True)
    return Readings(
        list(device),
        list(sensor),
        np.array(ts_us),
        np.array(value, dtype=float),
        np.array(offsets or [0] * len(rows)),
    )


class FakeHub:
    """Two partitions; devices whose name ends in an odd digit go to the second."""

    def __init__(self) -> None:
        self.events: dict[int, list[bytes]] = {0: [], 1: []}

    async def send(self, device: str, body: bytes) -> asyncio.Future[tuple[int, int]]:
        log = self.events[int(device[-1]) % 2]
        log.append(body)
        stored: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        stored.set_result((int(device[-1]) % 2, len(log) - 1))
        return stored


class Store:
    """Stored results of partition 0, written by hand."""

    def __init__(self, spec: WindowSpec = SPEC) -> None:
        self.blobs, self.state, self.spec = FakeBlobs(), FakeState(), spec
        self.results = Results(self.blobs, self.state, "readings", spec)

    def predictions(self, seq: int, rows: list[tuple[str, int, int, int, int]], status: str = "scored") -> None:
        """Rows of (device, start, count, duplicates, closed_offset)."""
        device, start, count, duplicates, closed = zip(*rows, strict=True)
        n = len(rows)
        table = Predictions(
            device=list(device),
            sensor=["s"] * n,
            start_us=np.array(start),
            count=np.array(count, dtype=np.int32),
            duplicates=np.array(duplicates, dtype=np.int32),
            features=np.zeros((n, len(FEATURES))),
            closed_offset=np.array(closed),
            status=[status] * n,
            decision=np.zeros(n),
            score=np.zeros(n),
            model_version=["v"] * n,
        )
        self.blobs.create(names.prediction_blob("readings", self.spec, 0, seq), encode_predictions(table))

    def segment(self, first: int, through: int, late: list[int], dead: list[int]) -> None:
        """A complete archive segment with late readings and dead letters at these offsets."""
        none = readings(("d0", "s", 0, 0.0))
        self.blobs.create(
            names.raw_blob("readings", 0, first), encode_readings(none), metadata={"through": str(through)}
        )
        self.leftovers(first, through, late, dead)

    def leftovers(self, first: int, through: int, late: list[int], dead: list[int]) -> None:
        if late:
            table = readings(*[("d0", "s", 0, 0.0)] * len(late), offsets=late)
            self.blobs.replace(names.late_blob("readings", 0, first, through), encode_readings(table))
        letters = [
            DeadLetter(hub="readings", partition=0, offset=o, item=0, reason=Reason.MALFORMED, detail="", body="")
            for o in dead
        ]
        lines = b"".join(msgspec.json.encode(letter) + b"\n" for letter in letters)
        if dead:
            self.blobs.replace(names.dead_letter_blob("readings", 0, first, through), lines)

    def checkpoint(self, offset: int, next_seq: int) -> None:
        metadata = {"offset": str(offset), "next_seq": str(next_seq)}
        self.blobs.replace(names.checkpoint_blob("readings", self.spec, 0), b"", metadata=metadata)

    def fold(self, until: int, etags: list[str] | None = None) -> None:
        position = FoldPosition(
            hub="readings", spec=self.spec.name, partition=0, applied_until=until, etags=etags or []
        )
        key = names.fold_partition("readings", self.spec, 0)
        self.state.transact(CONTAINER, key, [Put(POSITION, msgspec.json.encode(position))])

    def etag(self, seq: int) -> str:
        info = self.blobs.head(names.prediction_blob("readings", self.spec, 0, seq))
        assert info is not None
        return info.etag

    def alert(self, device: str, start_us: int) -> None:
        alert = Alert(
            hub="readings",
            spec=self.spec.name,
            partition=0,
            device=device,
            sensor="s",
            start_us=start_us,
            last_us=start_us,
            windows=1,
            peak_score=2.0,
            threshold=1.0,
            model_version="v",
            status=AlertStatus.RAISED,
            raised_at=0.0,
            updated_at=0.0,
        )
        put = Put(alert_id(device, "s", start_us), msgspec.json.encode(alert))
        self.state.transact(CONTAINER, names.fold_partition("readings", self.spec, 0), [put])


def sent(*offsets: int, count: int, devices: tuple[str, ...] = ("d0",)) -> Sent:
    return Sent(readings=count, devices=set(devices), offsets={0: list(offsets)})


def test_readings_are_packed_per_device_in_time_order_and_ties_keep_their_order() -> None:
    chunks = [readings(("b1", "s", 3, 1.0), ("a0", "s", 5, 2.0)), readings(("b1", "s", 1, 3.0), ("b1", "s", 3, 4.0))]
    events = list(packed(by_device(chunks)))
    assert [event.device for event in events] == ["b1", "a0"]
    assert [item["value"] for item in msgspec.json.decode(events[0].body)] == [3.0, 1.0, 4.0]
    assert by_device([]) == []


def test_a_paced_replay_packs_no_more_than_its_span() -> None:
    rows = [("a0", "s", ts * 1_000_000, 0.0) for ts in range(10)]
    spans = [event.last_us - event.first_us for event in packed(by_device([readings(*rows)]), span_us=4_000_000)]
    assert spans == [3_000_000, 3_000_000, 1_000_000]


async def test_a_replay_ends_with_one_flush_per_device_and_knows_its_offsets() -> None:
    hub = FakeHub()
    hub.events[0].append(b"of somebody else")
    told: list[int] = []
    histories = by_device([readings(("a0", "s", 1, 1.0), ("a2", "s", 1, 1.0), ("b1", "s", 1, 1.0))])
    result = await send_histories(hub, histories, advance=told.append)
    assert (result.readings, sum(told)) == (3, 3)
    assert result.offsets == {0: [1, 2, 3, 4], 1: [0, 1]}
    assert [msgspec.json.decode(body) for body in hub.events[0][3:]] == [
        {"device": "a0", "flush": True},
        {"device": "a2", "flush": True},
    ]


def test_only_what_this_replay_sent_is_counted() -> None:
    store = Store()
    store.predictions(0, [("d0", 0, 9, 0, 4)])  # an earlier replay of the same device
    store.predictions(1, [("d0", 60, 3, 1, 12), ("live", 60, 5, 0, 12)])
    store.predictions(2, [("d0", 120, 4, 0, 14)], status="learning")
    store.segment(0, 9, late=[3], dead=[2])
    store.segment(10, 14, late=[11, 12, 12, 13], dead=[10, 11])
    store.alert("d0", 60)
    store.alert("d0", 0)
    store.alert("live", 60)
    report = account(store.results, sent(10, 12, 14, count=11))
    assert report == msgspec.structs.replace(
        NOTHING,
        readings=11,
        windows=2,
        scored=1,
        learning=1,
        late=2,
        duplicates=1,
        dead_lettered=1,
        alerts=1,
        window_readings=7,
    )
    check(report, SPEC)


def test_late_readings_of_an_unfinished_archive_attempt_are_not_counted() -> None:
    store = Store()
    store.segment(0, 3, late=[2, 3, 5], dead=[])  # 5 lies beyond the segment: left from a longer attempt
    store.leftovers(8, 17, late=[8], dead=[8])  # no segment: never finished
    report = account(store.results, sent(2, 5, 8, count=3))
    assert (report.late, report.dead_lettered) == (1, 0)


def test_a_missing_or_doubled_reading_is_reported_with_the_sum() -> None:
    good = msgspec.structs.replace(NOTHING, readings=10, windows=1, scored=1, window_readings=8, late=1, duplicates=1)
    check(good, SPEC)
    with pytest.raises(NotAccounted, match=r"leave 9 .* = 8; some are missing"):
        check(msgspec.structs.replace(good, duplicates=0), SPEC)
    with pytest.raises(NotAccounted, match="= 10; windows that earlier sends"):
        check(msgspec.structs.replace(good, duplicates=2), SPEC)
    with pytest.raises(NotAccounted, match="1 windows have 0 scored"):
        check(msgspec.structs.replace(good, scored=0), SPEC)


def test_with_hopping_windows_a_reading_counts_once_to_once_per_pane() -> None:
    spec = WindowSpec(300, 60)
    report = msgspec.structs.replace(NOTHING, readings=10, windows=1, scored=1, window_readings=50)
    check(report, spec)
    with pytest.raises(NotAccounted):
        check(msgspec.structs.replace(report, window_readings=51), spec)
    with pytest.raises(NotAccounted):
        check(msgspec.structs.replace(report, window_readings=9), spec)


async def test_waiting_ends_when_all_is_processed_and_folded() -> None:
    store = Store()
    ours = sent(5, count=1)
    steps: tuple[Callable[[], None], ...] = (
        lambda: None,
        lambda: store.checkpoint(offset=5, next_seq=0),
        lambda: store.checkpoint(offset=6, next_seq=1),
        lambda: store.predictions(0, [("d0", 0, 1, 0, 5)]),
        lambda: store.fold(1, ["of predictions that were lost"]),
    )
    for step in steps:
        step()
        with pytest.raises(TryLater, match="partition 0: not finished"):
            await wait_until_stored(store.results, ours, timeout_s=0)
    store.fold(1, [store.etag(0)])
    await wait_until_stored(store.results, ours, timeout_s=0)


class Forgetful(Results):
    """Loses its predictions and checkpoint once while they are read; they are written again when next asked for."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.blobs, store.state, "readings", store.spec)
        self.store = store
        self.lost: dict[str, Blob] | None = None
        self._lose = True

    def predictions(self, partition: int, *, from_offset: int = 0) -> Iterator[Predictions]:
        if self._lose:
            self._lose, self.lost = False, dict(self.store.blobs.blobs)
            self.store.blobs.blobs.clear()
        return super().predictions(partition, from_offset=from_offset)

    def progress(self, partition: int) -> Progress:
        found = super().progress(partition)
        if self.lost is not None:
            self.store.blobs.blobs.update(self.lost)
            self.lost = None
        return found


async def test_what_was_read_while_storage_forgot_is_not_counted() -> None:
    store = Store()
    store.checkpoint(offset=6, next_seq=1)
    store.predictions(0, [("d0", 0, 1, 0, 5)])
    store.fold(1, [store.etag(0)])
    report = await account_when_stored(Forgetful(store), sent(5, count=1), timeout_s=5)
    assert (report.windows, report.scored) == (1, 1)


def test_scores_are_counted_as_they_come() -> None:
    store = Store()
    count = ScoreCount()
    store.predictions(0, [("d0", 0, 1, 0, 5)])
    store.results.count_scores(count)
    store.predictions(1, [("d0", 60, 1, 0, 6), ("d1", 60, 1, 0, 6)], status="learning")
    store.results.count_scores(count)
    store.results.count_scores(count)
    assert (count.scored, count.learning) == (1, 2)


def test_what_was_set_aside_is_listed_with_its_reason_and_place_latest_segments_first() -> None:
    stored = Store()
    stored.segment(0, 9, late=[3], dead=[5])
    stored.segment(10, 19, late=[], dead=[11])
    stored.leftovers(20, 29, late=[25], dead=[])
    found = [(each.reason, each.offset) for each in stored.results.set_aside()]
    assert found == [("malformed", 11), ("late", 3), ("malformed", 5)]
