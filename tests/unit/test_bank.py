from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.contracts import PredictionStatus
from models.errors import ModelRefused
from models.inference import ModelBank
from models.inference.weights import decode_weights, encode_weights, merge, select
from tests.unit.svm import SPEC, bank, fleet, noise_windows
from training.recommend.export import topk_graph
from training.svm.export import PARITY_TOLERANCE, bank_graph
from training.svm.fit import SvmOptions


@pytest.mark.parametrize("ratio", [0, 1e3, 1e6])
def test_decisions_agree_with_scikit_learn_whatever_the_mean_to_scale_ratio(ratio: float) -> None:
    windows = noise_windows(n=300, mean=ratio)
    fitted = fleet(windows)
    probes = windows.features + np.random.default_rng(1).normal(0, 3, windows.features.shape)
    scores = bank(fitted).score(["d"] * 300, ["s"] * 300, probes)
    expected = fitted.fitted[0].estimator.decision_function(probes)
    np.testing.assert_allclose(scores.decision, expected, atol=PARITY_TOLERANCE * 3, rtol=0)
    clear = np.abs(expected) > 1e-4
    assert ((scores.decision < 0) == (expected < 0))[clear].all()
    assert ((scores.score > 0) == (expected < 0))[clear].all()
    assert (expected < 0).any()
    assert (expected > 0).any()


def test_score_grows_with_the_squared_distance_at_any_distance() -> None:
    # The first model has fewer vectors than the table is wide: padding must never win the maximum.
    small = noise_windows(("d", "small"), 25, mean=0)
    large = noise_windows(("d", "large"), 400, mean=0, seed=1)
    fitted = fleet(small, large, options=SvmOptions(gamma=0.1))
    vectors = [int(fit.row.vectors[0]) for fit in fitted.fitted]
    assert vectors[0] < 16
    assert vectors[1] > 16
    scored = bank(fitted)
    for sensor in ("small", "large"):
        for distance in (1e2, 1e4, 1e6, 1e9):
            row = fitted.fitted[0 if sensor == "small" else 1].row
            x = row.mean + row.scale * np.eye(8)[:1] * distance
            score = scored.score(["d"], [sensor], x).score[0]
            assert score == pytest.approx(0.1 * distance**2, rel=0.15 if distance < 1e3 else 1e-3)


def test_series_without_a_model_are_learning_and_change_nobodys_score() -> None:
    windows = noise_windows(n=100)
    scored = bank(fleet(windows))
    alone = scored.score(["d"], ["s"], windows.features[:1])
    mixed = scored.score(["new", "d", "d"], ["s", "s", "new"], windows.features[[5, 0, 5]])
    assert mixed.status == [PredictionStatus.LEARNING, PredictionStatus.SCORED, PredictionStatus.LEARNING]
    assert mixed.decision[1] == alone.decision[0]
    assert np.isnan(mixed.decision[[0, 2]]).all()
    assert np.isnan(mixed.score[[0, 2]]).all()
    assert mixed.scored.tolist() == [False, True, False]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, 1e300])
def test_values_that_the_model_cannot_take_are_invalid_and_never_normal(bad: float) -> None:
    windows = noise_windows(n=100)
    x = windows.features[:3].copy()
    x[1, 4] = bad
    scores = bank(fleet(windows)).score(["d"] * 3, ["s"] * 3, x)
    assert scores.status == ["scored", "invalid", "scored"]
    assert np.isnan(scores.decision[1])
    assert np.isnan(scores.score[1])


def test_an_invalid_window_of_an_unknown_series_is_learning() -> None:
    scores = bank(fleet(noise_windows())).score(["new"], ["s"], np.full((1, 8), np.nan))
    assert scores.status == ["learning"]


def test_a_mixed_batch_longer_than_a_chunk_scores_as_each_window_alone() -> None:
    sets = [noise_windows((f"d{i}", "s"), 30 + 40 * i, mean=10.0 * i, seed=i) for i in range(6)]
    fitted = fleet(*sets, options=SvmOptions(gamma=0.1))
    scored = bank(fitted)
    rng = np.random.default_rng(9)
    owner = rng.integers(0, 6, 3000)
    x = np.stack([sets[i].features[rng.integers(0, 30)] for i in owner]) + rng.normal(0, 1, (3000, 8))
    scores = scored.score([f"d{i}" for i in owner], ["s"] * 3000, x)
    for i, fit in enumerate(fitted.fitted):
        np.testing.assert_allclose(
            scores.decision[owner == i], fit.estimator.decision_function(x[owner == i]), atol=1e-4
        )


def test_an_empty_batch_gives_empty_scores() -> None:
    scores = bank(fleet(noise_windows())).score([], [], np.empty((0, 8)))
    assert scores.status == []
    assert scores.decision.shape == (0,)


def test_lengths_that_differ_are_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="features"):
        bank(fleet(noise_windows())).score(["d"], ["s"], np.zeros((2, 8)))


def test_bank_knows_which_series_have_a_model() -> None:
    scored = bank(fleet(noise_windows(("a", "x")), noise_windows(("b", "y"))))
    assert ("a", "x") in scored
    assert ("a", "y") not in scored
    assert len(scored) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nu": np.array([0.0001])}, "nu \\* n is 0.01"),
        ({"flagged": np.array([100])}, "flags 100 of its own 100"),
        ({"rho": np.array([np.nan])}, "not finite"),
        ({"rho": np.array([-1.0])}, "not positive"),
        ({"scale": np.zeros((1, 8))}, "not positive"),
    ],
)
def test_a_degenerate_model_is_refused_at_load_by_name(change: dict[str, np.ndarray], reason: str) -> None:
    row = fleet(noise_windows(("pump", "heat"))).fitted[0].row
    sound = fleet(noise_windows(("other", "x"))).fitted[0].row
    with pytest.raises(ModelRefused, match=f"1 of 2 series.*pump/heat.*{reason}"):
        ModelBank(merge([sound, replace(row, **change)]), bank_graph(), version="v", spec=SPEC)


def test_a_model_with_one_support_vector_is_refused() -> None:
    row = fleet(noise_windows()).fitted[0].row
    single = replace(row, vectors=np.array([1]), support=row.support[:1], coef=row.coef[:1])
    with pytest.raises(ModelRefused, match="1 support vector"):
        ModelBank(single, bank_graph(), version="v", spec=SPEC)


def test_a_graph_that_is_none_is_refused() -> None:
    row = fleet(noise_windows()).fitted[0].row
    with pytest.raises(ModelRefused, match=r"model v: bank\.onnx cannot be loaded"):
        ModelBank(row, b"no graph", version="v", spec=SPEC)
    with pytest.raises(ModelRefused, match=r"bank\.onnx: expected inputs idx, x, mean, inv, sv, rho"):
        ModelBank(row, topk_graph(), version="v", spec=SPEC)


def test_weights_survive_encoding_bit_for_bit() -> None:
    rows = [fit.row for fit in fleet(noise_windows(("dé/1", "ß")), noise_windows(("a", "b"), 50)).fitted]
    weights = merge(rows)
    data = encode_weights(weights)
    assert encode_weights(decode_weights(data)) == data
    assert decode_weights(data).series == [("a", "b"), ("dé/1", "ß")]


def test_weights_that_cannot_be_read_are_refused() -> None:
    weights = fleet(noise_windows()).fitted[0].row
    for data in (b"", b"PK\x03\x04", encode_weights(replace(weights, vectors=weights.vectors + 1))):
        with pytest.raises(ModelRefused):
            decode_weights(data)


def test_merge_takes_the_last_of_a_series_and_keeps_every_vector_in_place() -> None:
    a, b = noise_windows(("a", "s"), 40), noise_windows(("b", "s"), 60, seed=1)
    newer = noise_windows(("a", "s"), 80, seed=2)
    rows = {name: fleet(windows).fitted[0].row for name, windows in (("a", a), ("b", b), ("newer", newer))}
    merged = merge([merge([rows["b"], rows["a"]]), rows["newer"]])
    assert merged.series == [("a", "s"), ("b", "s")]
    assert encode_weights(select(merged, [0])) == encode_weights(rows["newer"])
    assert encode_weights(select(merged, [1])) == encode_weights(rows["b"])


def test_scores_have_the_same_bits_whatever_is_scored_beside_them() -> None:
    sets = [noise_windows(("d", f"s{i}"), 60 + 30 * i, seed=i, mean=10.0 * i) for i in range(8)]
    scored = bank(fleet(*sets))
    rng = np.random.default_rng(3)
    sensors = [f"s{i}" for i in rng.integers(0, 8, 300)]
    x = np.array([sets[int(s[1:])].features[rng.integers(0, 60)] for s in sensors]) + rng.normal(0, 2, (300, 8))
    together = scored.score(["d"] * 300, sensors, x)
    for _ in range(60):
        some = rng.permutation(300)[: rng.integers(1, 80)]
        part = scored.score(["d"] * len(some), [sensors[i] for i in some], x[some])
        assert part.decision.tobytes() == together.decision[some].tobytes()
        assert part.score.tobytes() == together.score[some].tobytes()
