from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from models.csvreadings import CsvColumns, parse_csv
from models.errors import BadInput, ModelRefused, Superseded
from models.inference import guards, load_bank
from models.inference.weights import decode_weights
from models.registry import AliasState, Registry
from tests.fakes import FakeBlobs
from tests.unit.svm import SPEC, fleet, noise_windows, publishing
from training.history import SeriesWindows, windows_by_series
from training.svm.export import PARITY_TOLERANCE, bank_graph
from training.svm.fit import Fleet, SvmOptions, fit_fleet, fit_series, weights_row
from training.svm.register import Report, load_base, load_estimators

SENSOR_FILE = Path(__file__).parents[2].parent / "shared/data/sensors/sensor_data.csv"


def features_of(windows: SeriesWindows, features: np.ndarray) -> SeriesWindows:
    return SeriesWindows(windows.series, windows.start_us, features)


def test_nu_is_raised_on_short_histories_so_that_the_fit_is_defined() -> None:
    assert fit_series(noise_windows(n=40), SvmOptions()).row.nu[0] == pytest.approx(2 / 40)
    assert fit_series(noise_windows(n=1000), SvmOptions()).row.nu[0] == 0.01


def test_a_series_with_too_few_windows_is_refused_and_the_others_go_on() -> None:
    seen: list[tuple[str, str]] = []
    sets = [noise_windows(("a", "s"), 19), noise_windows(("b", "s"), 20)]
    result = fit_fleet(sets, SvmOptions(), progress=seen.append)
    assert [fit.windows.series for fit in result.fitted] == [("b", "s")]
    assert [(r.device, r.windows, r.reason) for r in result.refused] == [("a", 19, "has 19 windows, needs 20")]
    assert seen == [("a", "s"), ("b", "s")]


def test_overflow_in_one_series_does_not_stop_the_fleet() -> None:
    huge = noise_windows(("a", "s"), 50)
    with np.errstate(all="ignore"):
        result = fleet(features_of(huge, huge.features * 1e300), noise_windows(("b", "s")))
    assert [fit.windows.series for fit in result.fitted] == [("b", "s")]
    assert [r.device for r in result.refused] == ["a"]


def test_fits_like_the_shipped_reference_models_are_refused() -> None:
    # One raw value per row, nu=0.0001, libsvm's default tolerance: nu * n = 0.028.
    values = np.random.default_rng(0).uniform(0, 100, (280, 1))
    model = Pipeline([("scaler", StandardScaler()), ("svm", OneClassSVM(nu=0.0001, gamma=0.01))]).fit(values)
    row = weights_row(("d", "s"), model, model.decision_function(values))
    assert "nu * n is 0.028" in guards.refusals(row)["d", "s"]


def test_a_model_that_flags_its_own_training_windows_is_refused() -> None:
    windows = noise_windows(n=200)
    model = fit_series(windows, SvmOptions()).estimator
    shifted = model.decision_function(windows.features) - 10.0
    row = weights_row(windows.series, model, shifted)
    assert "flags 200 of its own 200" in guards.refusals(row)["d", "s"]


def test_a_constant_sensor_gets_a_model_that_knows_a_change_from_rounding() -> None:
    blobs = FakeBlobs()
    windows = noise_windows(n=50)
    constant = np.zeros((50, 8))
    constant[:, [0, 2, 3, 4]] = 20.1
    constant[::3, 0] += 3e-15
    registered = publishing(blobs).publish(fleet(features_of(windows, constant)), promote=True)
    scored = load_bank(Registry(blobs, "svm"), registered.manifest.version)
    probes = constant[:3].copy()
    probes[1, [0, 2, 3, 4]] += 1e-9
    probes[2, [0, 2, 3, 4]] += 10
    score = scored.score(["d"] * 3, ["s"] * 3, probes).score
    assert abs(score[:2]).max() < 0.01
    assert score[2] > 1


def test_steady_noise_is_rarely_flagged_later_on() -> None:
    windows = noise_windows(n=2000)
    train = SeriesWindows(windows.series, windows.start_us[:200], windows.features[:200])
    decision = fit_series(train, SvmOptions()).estimator.decision_function(windows.features[200:])
    assert (decision < 0).mean() < 0.06


def test_equal_data_gives_the_same_version_byte_for_byte() -> None:
    files = []
    for _ in range(2):
        blobs = FakeBlobs()
        publishing(blobs).publish(fleet(noise_windows(("a", "s")), noise_windows(("b", "s"))), promote=False)
        files.append({name: blob.data for name, blob in blobs.blobs.items()})
    assert files[0] == files[1]
    assert len(files[0]) == 5


def test_registered_estimators_agree_with_the_bank() -> None:
    blobs = FakeBlobs()
    windows = noise_windows(n=300, mean=1e6)
    manifest = publishing(blobs).publish(fleet(windows), promote=True).manifest
    registry = Registry(blobs, "svm")
    estimator = load_estimators(registry, manifest)["d", "s"]
    decision = load_bank(registry, manifest.version).score(["d"] * 300, ["s"] * 300, windows.features).decision
    assert np.abs(decision - estimator.decision_function(windows.features)).max() <= PARITY_TOLERANCE * 3
    assert decode_weights(registry.file(manifest, "weights.npz")).windows.tolist() == [300]
    assert manifest.metrics["max_parity_difference"] <= PARITY_TOLERANCE


def test_estimators_with_another_digest_are_never_unpickled() -> None:
    blobs = FakeBlobs()
    manifest = publishing(blobs).publish(fleet(noise_windows()), promote=True).manifest
    blobs.replace(f"models/svm/{manifest.version}/estimators.joblib", b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ModelRefused, match="sha256"):
        load_estimators(Registry(blobs, "svm"), manifest)


def test_a_series_whose_bank_row_is_wrong_fails_the_parity_gate() -> None:
    good, bad = fleet(noise_windows(("a", "s")), noise_windows(("b", "s"))).fitted
    wrong = replace(bad, row=replace(bad.row, rho=bad.row.rho * 1.01))
    blobs = FakeBlobs()
    registered = publishing(blobs).publish(Fleet([good, wrong], []), promote=True)
    assert registered.manifest.series == 1
    assert [(r.device, "differs from scikit-learn" in r.reason) for r in registered.report.refused] == [("b", True)]
    stored = Registry(blobs, "svm").file(registered.manifest, "report.json")
    assert msgspec.json.decode(stored, type=Report) == registered.report


def test_a_run_without_any_sound_series_registers_nothing() -> None:
    blobs = FakeBlobs()
    with pytest.raises(BadInput, match="d/s: has 3 windows"):
        publishing(blobs).publish(fleet(noise_windows(n=3)), promote=True)
    assert blobs.blobs == {}


def test_the_live_versions_other_series_are_taken_over() -> None:
    blobs = FakeBlobs()
    first = publishing(blobs).publish(fleet(noise_windows(("a", "s")), noise_windows(("b", "s"))), promote=True)
    blobs.clock.advance(1)
    second = publishing(blobs).publish(fleet(noise_windows(("b", "s"), 200), noise_windows(("c", "s"))), promote=True)
    registry = Registry(blobs, "svm")
    weights = decode_weights(registry.file(second.manifest, "weights.npz"))
    assert dict(zip(weights.series, weights.windows.tolist(), strict=True)) == {
        ("a", "s"): 100, ("b", "s"): 200, ("c", "s"): 100,
    }  # fmt: skip
    estimators = load_estimators(registry, second.manifest)
    assert {series: estimator.named_steps["scaler"].n_samples_seen_ for series, estimator in estimators.items()} == {
        ("a", "s"): 100, ("b", "s"): 200, ("c", "s"): 100,
    }  # fmt: skip
    assert second.manifest.based_on == first.manifest.version
    assert registry.aliases().aliases.previous == first.manifest.version


def test_a_fresh_version_takes_nothing_over() -> None:
    blobs = FakeBlobs()
    publishing(blobs).publish(fleet(noise_windows(("a", "s"))), promote=True)
    registered = publishing(blobs).publish(fleet(noise_windows(("b", "s"))), promote=True, fresh=True)
    assert registered.manifest.series == 1


def test_series_trained_on_other_windows_are_not_taken_over() -> None:
    blobs = FakeBlobs()
    first = publishing(blobs).publish(fleet(noise_windows(("a", "s"))), promote=True)
    other = type(SPEC)(300, 60)
    assert load_base(Registry(blobs, "svm"), first.manifest.version, other) is None


def test_a_promotion_in_between_is_merged_and_not_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = FakeBlobs()
    real = Registry.promote
    rivals = [fleet(noise_windows(("rival", "s")))]

    def late(self: Registry, version: str, *, based_on: AliasState | None = None) -> object:
        if rivals:
            blobs.clock.advance(1)
            publishing(blobs).publish(rivals.pop(), promote=True)
        return real(self, version, based_on=based_on)

    monkeypatch.setattr(Registry, "promote", late)
    registered = publishing(blobs).publish(fleet(noise_windows(("ours", "s"))), promote=True)
    bank = load_bank(Registry(blobs, "svm"), registered.manifest.version)
    assert ("ours", "s") in bank
    assert ("rival", "s") in bank
    assert Registry(blobs, "svm").aliases().aliases.live == registered.manifest.version


def test_endless_rivals_end_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def always_late(self: Registry, version: str, *, based_on: AliasState | None = None) -> object:
        raise Superseded("somebody was first")

    monkeypatch.setattr(Registry, "promote", always_late)
    with pytest.raises(Superseded, match="5 other promotions"):
        publishing(FakeBlobs()).publish(fleet(noise_windows()), promote=True)


@pytest.mark.parametrize("given", [{"nu": 0.0}, {"nu": 0.6}, {"gamma": 0.0}, {"min_windows": 3}, {"max_windows": 10}])
def test_options_that_cannot_work_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        SvmOptions(**given)  # type: ignore[arg-type]  # a table of wrong values


def test_the_bank_graph_is_the_same_every_time() -> None:
    assert bank_graph() == bank_graph()


@pytest.mark.skipif(not SENSOR_FILE.exists(), reason="the sensor file lies outside the repository")
def test_every_series_of_the_sensor_file_agrees_with_scikit_learn() -> None:
    columns = CsvColumns.parse("device=Device,sensor=Sensor,ts=TS,value=Value")
    with SENSOR_FILE.open(newline="") as lines:
        sets = windows_by_series(parse_csv(lines, columns), SPEC, max_windows=5000)
    assert sum(len(windows.start_us) for windows in sets) == 3781
    blobs = FakeBlobs()
    registered = publishing(blobs).publish(fleet(*sets), promote=True)
    assert (registered.manifest.series, registered.report.refused) == (15, [])
    registry = Registry(blobs, "svm")
    bank, estimators = (
        load_bank(registry, registered.manifest.version),
        load_estimators(registry, registered.manifest),
    )
    for windows in sets:
        n = len(windows.start_us)
        device, sensor = windows.series
        decision = bank.score([device] * n, [sensor] * n, windows.features).decision
        expected = estimators[windows.series].decision_function(windows.features)
        assert np.abs(decision - expected).max() <= PARITY_TOLERANCE * max(1, 0.01 * n)
