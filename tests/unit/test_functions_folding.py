"""The fold: predictions in seq order become alerts, once, whatever comes between."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import folding
from functions.alerts import alert_id, find_alerts
from functions.folding import Folder, StoredPredictions
from functions.scoring import handle_batch, score_windows
from functions.series import decode_shard
from models.contracts import AlertStatus
from models.errors import BadInput, Superseded, TryLater
from models.names import prediction_blob
from models.ports import MAX_TRANSACTION_WRITES
from models.tables import decode_batch, decode_predictions, encode_predictions
from tests.unit.telemetry import (
    MINUTE_US,
    PARTITION,
    SPEC,
    NoBank,
    Plant,
    ValueBank,
    Window,
    batch_bytes,
    message_bytes,
)


@pytest.fixture
def plant() -> Plant:
    return Plant()


def windows(*values: float, device: str = "a", start: int = 0) -> list[Window]:
    return [Window(start + n, device, value) for n, value in enumerate(values)]


def score(plant: Plant, seq: int, model=None) -> None:
    handle_batch(message_bytes(seq), plant.blobs, model or ValueBank(), plant.folder)


def prediction_name(seq: int) -> str:
    return prediction_blob("readings", SPEC, 0, seq)


def series(plant: Plant, device: str):
    found = [
        each
        for document in plant.state.query("telemetry", id_prefix="series:")
        for each in decode_shard(document.body)
        if each.device == device
    ]
    assert len(found) == 1
    return found[0]


class TestEpisodes:
    def test_the_first_window_above_the_threshold_raises_and_further_ones_extend(self, plant: Plant) -> None:
        plant.write_batch(0, windows(0.0, 2.0, 5.0, 3.0))
        score(plant, 0)
        (alert,) = plant.alerts()
        assert (alert.device, alert.sensor, alert.status) == ("a", "temp", AlertStatus.RAISED)
        assert (alert.start_us, alert.last_us, alert.cleared_us) == (1 * MINUTE_US, 3 * MINUTE_US, None)
        assert (alert.windows, alert.peak_score, alert.threshold, alert.model_version) == (3, 5.0, 1.0, "v1")

    def test_a_score_at_the_threshold_is_normal(self, plant: Plant) -> None:
        plant.write_batch(0, windows(1.0))
        score(plant, 0)
        assert plant.alerts() == []

    def test_the_first_normal_window_clears_and_the_next_anomaly_is_another_episode(self, plant: Plant) -> None:
        for seq, value in enumerate((2.0, 0.0, 0.0, 3.0)):
            plant.write_batch(seq, windows(value, start=seq))
            score(plant, seq)
        first, second = plant.alerts()
        assert (first.status, first.cleared_us, first.windows) == (AlertStatus.CLEARED, 1 * MINUTE_US, 1)
        assert (second.status, second.start_us) == (AlertStatus.RAISED, 3 * MINUTE_US)

    def test_learning_and_invalid_windows_neither_open_nor_clear(self, plant: Plant) -> None:
        plant.write_batch(0, [*windows(9.0, device="new"), *windows(2.0, math.nan, 2.0)])
        score(plant, 0)
        (alert,) = plant.alerts()
        assert (alert.device, alert.windows, alert.status) == ("a", 2, AlertStatus.RAISED)

    def test_wall_clock_times_say_when_it_was_raised_and_last_changed(self, plant: Plant) -> None:
        raised = plant.clock.now()
        for seq in range(2):
            plant.write_batch(seq, windows(2.0, start=seq))
            score(plant, seq)
            plant.clock.advance(60)
        (alert,) = find_alerts(plant.state)
        assert (alert.raised_at, alert.updated_at) == (raised, raised + 60)

    def test_a_series_is_remembered_with_its_counts_and_last_state(self, plant: Plant) -> None:
        plant.write_batch(0, windows(7.0, 8.0, device="new"))
        plant.write_batch(1, windows(0.5, math.nan))
        score(plant, 0)
        score(plant, 1)
        new, known = series(plant, "new"), series(plant, "a")
        assert (new.windows, new.learning, new.status, new.score) == (2, 2, "learning", None)
        assert (known.windows, known.learning, known.status, known.score) == (2, 0, "invalid", 0.5)


class TestOrder:
    def test_a_batch_that_comes_early_waits_in_storage_and_is_taken_up(self, plant: Plant) -> None:
        for seq, value in enumerate((2.0, 0.0, 2.0)):
            plant.write_batch(seq, windows(value, start=seq))
        score(plant, 2)
        score(plant, 1)
        assert plant.alerts() == []
        assert plant.folder.position(PARTITION).applied_until == 0
        score(plant, 0)
        assert plant.folder.position(PARTITION).applied_until == 3
        assert [alert.start_us for alert in plant.alerts()] == [0, 2 * MINUTE_US]

    def test_a_second_delivery_changes_nothing_and_reads_no_batch(self, plant: Plant) -> None:
        plant.write_batch(0, windows(2.0))
        score(plant, 0)
        before = dict(plant.state.documents), dict(plant.blobs.blobs)
        plant.clock.advance(5)
        score(plant, 0)
        assert (plant.state.documents, plant.blobs.blobs) == before

    def test_the_first_delivery_decides_the_model(self, plant: Plant) -> None:
        plant.write_batch(0, windows(2.0))
        plant.write_batch(1, windows(2.0, start=1))
        score(plant, 1, NoBank())
        score(plant, 1, ValueBank())
        score(plant, 0, ValueBank())
        (alert,) = plant.alerts()
        assert alert.windows == 1
        assert decode_predictions(plant.blobs.get(prediction_name(1)).data).status == ["learning"]

    def test_windows_that_a_regrouped_batch_repeats_are_applied_once(self, plant: Plant) -> None:
        plant.write_batch(0, windows(2.0, 2.0))
        score(plant, 0)
        for name in (f"windows/readings/{SPEC.name}/0/000000000000.parquet", prediction_name(0)):
            plant.blobs.delete(name)
        plant.write_batch(0, windows(2.0, 2.0, 2.0))
        score(plant, 0)
        (alert,) = plant.alerts()
        assert alert.windows == 3
        assert series(plant, "a").windows == 3

    def test_predictions_that_were_replaced_are_folded_when_their_message_comes_again(self, plant: Plant) -> None:
        plant.write_batch(0, windows(2.0, 2.0))
        score(plant, 0)
        plant.blobs.delete(prediction_name(0))
        rows = decode_batch(batch_bytes(windows(2.0, 2.0, 2.0))).windows
        plant.blobs.create(prediction_name(0), encode_predictions(score_windows(rows, ValueBank())))
        score(plant, 0)
        (alert,) = plant.alerts()
        assert alert.windows == 3

    def test_folding_applies_many_waiting_batches_in_few_passes(self, plant: Plant) -> None:
        for seq in range(150):
            plant.write_batch(seq, windows(float(seq % 2) * 2, start=seq))
        for seq in range(149, -1, -1):
            score(plant, seq)
        assert len(plant.alerts()) == 75
        assert plant.folder.position(PARTITION).applied_until == 150
        assert plant.folder.fold(PARTITION) == 0


class TestTransactions:
    def test_no_transaction_exceeds_the_limit_when_a_thousand_alerts_rise_at_once(self, plant: Plant) -> None:
        sizes = []
        transact = plant.state.transact
        plant.state.transact = lambda *a: (sizes.append(len(a[2])), transact(*a))
        plant.write_batch(0, [Window(0, f"d{n}", 2.0) for n in range(1000)])
        score(plant, 0)
        assert len(plant.alerts()) == 1000
        assert max(sizes) <= MAX_TRANSACTION_WRITES

    def test_a_fold_of_many_calm_series_is_one_transaction(self, plant: Plant) -> None:
        sizes = []
        transact = plant.state.transact
        plant.state.transact = lambda *a: (sizes.append(len(a[2])), transact(*a))
        plant.write_batch(0, [Window(0, f"d{n}", 0.0) for n in range(5000)])
        score(plant, 0)
        assert sizes == [65]

    @pytest.mark.parametrize("limit", [3, 4, 7])
    def test_a_crash_before_any_write_is_healed_by_folding_again(self, monkeypatch, limit: int) -> None:
        monkeypatch.setattr(folding, "MAX_TRANSACTION_WRITES", limit)
        rows = [*windows(2.0, 0.0, 2.0, 0.0, 2.0), *windows(2.0, 2.0, 0.0, 2.0, device="b")]
        calm, writes = Plant(), []
        transact = calm.state.transact
        calm.state.transact = lambda *a: (writes.append(1), transact(*a))
        calm.write_batch(0, rows)
        score(calm, 0)
        assert len(writes) > 1
        for survived in range(len(writes)):
            plant = Plant()
            plant.write_batch(0, rows)
            self._crash_after(plant, survived)
            plant.start()
            plant.clock.advance(1)
            score(plant, 0)
            assert plant.alerts() == calm.alerts(), f"crash after {survived} transactions"
            assert series(plant, "a").windows == 5

    @staticmethod
    def _crash_after(plant: Plant, transactions: int) -> None:
        transact, left = plant.state.transact, iter(range(transactions))

        def guarded(*args) -> None:
            if next(left, None) is None:
                raise ZeroDivisionError
            transact(*args)

        plant.state.transact = guarded
        with pytest.raises(ZeroDivisionError):
            score(plant, 0)
        plant.state.transact = transact

    def test_a_rival_between_two_transactions_stops_the_slower_fold_without_harm(self, monkeypatch) -> None:
        monkeypatch.setattr(folding, "MAX_TRANSACTION_WRITES", 3)
        plant = Plant()
        plant.write_batch(0, windows(2.0, 0.0, 2.0, 0.0, 2.0))
        plant.write_batch(1, windows(0.0, start=5))
        rival = Folder(plant.blobs, plant.state, plant.clock, threshold=1.0)
        transact, interrupted = plant.state.transact, []

        def interrupt(*args) -> None:
            transact(*args)
            if not interrupted:
                interrupted.append(1)
                plant.state.transact = transact
                handle_batch(message_bytes(1), plant.blobs, ValueBank(), rival)

        plant.state.transact = interrupt
        score(plant, 0)
        statuses = [alert.status for alert in plant.alerts()]
        assert statuses == [AlertStatus.CLEARED] * 3
        assert series(plant, "a").windows == 6

    def test_a_fold_that_always_loses_gives_up_for_now(self, plant: Plant) -> None:
        plant.write_batch(0, windows(2.0))

        def beaten(*_args) -> None:
            raise Superseded("again")

        plant.state.transact = beaten
        with pytest.raises(TryLater):
            score(plant, 0)


class TestScoring:
    def test_without_a_live_model_all_windows_are_learning(self, plant: Plant) -> None:
        plant.write_batch(0, windows(2.0, 3.0))
        score(plant, 0, NoBank())
        stored = decode_predictions(plant.blobs.get(prediction_name(0)).data)
        assert (stored.status, stored.model_version) == (["learning"] * 2, [""] * 2)
        assert np.isnan(stored.score).all()
        assert plant.alerts() == []

    def test_a_model_of_other_windows_is_not_used(self, plant: Plant) -> None:
        class OtherSpec(ValueBank):
            spec = type(SPEC)(30, 30)

        plant.write_batch(0, windows(2.0))
        score(plant, 0, OtherSpec())
        assert decode_predictions(plant.blobs.get(prediction_name(0)).data).status == ["learning"]

    def test_predictions_keep_the_rows_of_their_batch_in_order(self, plant: Plant) -> None:
        plant.write_batch(0, [*windows(0.5, math.nan), *windows(2.0, device="new"), *windows(4.0, device="z")])
        score(plant, 0)
        stored = decode_predictions(plant.blobs.get(prediction_name(0)).data)
        assert stored.device == ["a", "a", "new", "z"]
        assert stored.status == ["scored", "invalid", "learning", "scored"]
        assert stored.model_version == ["v1", "v1", "", "v1"]
        assert stored.score[[0, 3]].tolist() == [0.5, 4.0]

    def test_an_empty_batch_is_scored_and_folded(self, plant: Plant) -> None:
        plant.write_batch(0, [])
        score(plant, 0)
        assert plant.folder.position(PARTITION).applied_until == 1

    def test_a_batch_that_storage_lost_is_tried_later(self, plant: Plant) -> None:
        with pytest.raises(TryLater, match="not in storage"):
            score(plant, 0)

    def test_a_batch_that_is_no_batch_is_bad_input(self, plant: Plant) -> None:
        plant.blobs.create(f"windows/readings/{SPEC.name}/0/000000000000.parquet", b"not parquet")
        with pytest.raises(BadInput):
            score(plant, 0)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\xff\xfe",
            b"[]",
            b'{"hub": "readings"}',
            message_bytes(0).replace(b"tumbling-60s", b"weekly"),
            message_bytes(0).replace(b"windows/", b"models/"),
            message_bytes(0).replace(b'"seq":0', b'"seq":1'),
            message_bytes(-1),
        ],
    )
    def test_a_message_that_names_no_batch_is_bad_input(self, plant: Plant, body: bytes) -> None:
        with pytest.raises(BadInput):
            handle_batch(body, plant.blobs, ValueBank(), plant.folder)

    def test_what_was_just_stored_is_folded_without_reading_it_back(self, plant: Plant) -> None:
        predictions = score_windows(decode_batch(batch_bytes(windows(2.0))).windows, ValueBank())
        assert plant.folder.fold(PARTITION, {0: StoredPredictions(predictions, "etag")}) == 1
        assert plant.folder.position(PARTITION).etag_of(0) == "etag"


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)


@given(st.tuples(names, names), st.tuples(names, names))
def test_alert_ids_tell_any_two_series_apart_and_suit_cosmos_db(one, other) -> None:
    first, second = alert_id(*one, 0), alert_id(*other, 0)
    assert (first == second) == (one == other)
    assert len(first.encode()) < 1023
    assert not set("/\\?#") & set(first)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a/b", "c"), ("a", "b/c")),
        (("a:b", "c"), ("a", "b:c")),
        (("a%3Ab", "c"), ("a:b", "c")),
        (("x" * 201, "c"), ("x" * 202, "c")),
        (("é", "c"), ("e\u0301", "c")),
        (("=" + "0" * 64, "c"), ("0" * 64, "c")),
    ],
)
def test_names_that_look_alike_have_alerts_of_their_own(one, other) -> None:
    assert alert_id(*one, 0) != alert_id(*other, 0)


def test_ids_of_a_series_sort_by_time() -> None:
    assert alert_id("a", "b", 999) < alert_id("a", "b", 1_000) < alert_id("a", "b", 4_102_444_800_000_000)


def test_a_position_stays_readable_and_forgets_no_more_than_it_should() -> None:
    position = folding.FoldPosition(hub="h", spec="s", partition=0).applied(["e0", "e1", "e2"])
    assert [position.etag_of(seq) for seq in range(4)] == ["e0", "e1", "e2", None]
    verified = position.verified(2)
    assert [verified.etag_of(seq) for seq in range(3)] == [None, None, "e2"]
    assert position.verified(3).etags == []
    assert verified.rewound(1) == msgspec.structs.replace(verified, applied_until=1, verified_until=1, etags=[])
    assert position.rewound(1).etags == ["e0"]
