"""Factorization machines: what the fit learns from its training part, and what is exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from infra.cli.main import app
from models.errors import BadInput, ModelRefused
from models.recommend import metrics
from models.recommend.ratings import Ratings
from tests.unit.tastes import csv
from training.recommend.fm import export
from training.recommend.fm.calibration import best_threshold, calibrate
from training.recommend.fm.columns import columns_of
from training.recommend.fm.experiment import _warnings, run_fm
from training.recommend.fm.features import item_genres, user_features
from training.recommend.fm.fit import FmFit, fit_fm
from training.recommend.fm.model import FmOptions, Targets, sigmoid
from training.recommend.fm.rows import validation_rows
from training.recommend.fm.sweep import FmPlan, sweep_fm

USERS, ITEMS = 120, 60
SMALL = FmOptions(factors=8, members=2, learning_rate=0.02, batch=256, epochs=30, regularization=0.003)


def tastes(seed: int = 0) -> tuple[Ratings, Ratings]:
    """Training and test ratings of one world: users of kind u % 3 like items of kind i % 3, and mind the others.

    Every item is rated alike on the whole, so only who rates what tells a like.
    """
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((USERS, ITEMS)) < 0.5)
    value = np.where(user % 3 == item % 3, 4.6, 2.9) + rng.normal(0, 0.7, len(user))
    whole = Ratings.of([f"u{u}" for u in user], [f"i{i}" for i in item], np.clip(np.rint(value), 1, 5))
    held_out = rng.random(len(whole)) < 0.2
    return whole.rows(~held_out), whole.rows(held_out)


@pytest.fixture(scope="module")
def fitted() -> FmFit:
    return fit_fm(tastes()[0], SMALL)


def test_the_machine_finds_who_likes_what(fitted: FmFit) -> None:
    test = tastes()[1]
    user, item = fitted.model.places(test)
    probability, positive = fitted.model.probability(user, item), test.value >= 4
    always = max(positive.mean(), 1 - positive.mean())
    by_item = np.bincount(test.item, positive, len(test.items)) / np.maximum(1, np.bincount(test.item))
    assert metrics.accuracy(positive, probability >= fitted.model.threshold) > always + 0.15
    assert metrics.auc(positive, probability) > metrics.auc(positive, by_item[test.item]) + 0.15
    assert metrics.log_loss(positive, probability) < 0.5


@pytest.mark.parametrize("targets", get_args(Targets))
def test_ratings_are_predicted_where_the_targets_hold_them(targets: Targets) -> None:
    train, test = tastes()
    options = FmOptions(factors=4, members=1, learning_rate=0.02, batch=256, epochs=15, targets=targets)
    model = fit_fm(train, options).model
    rating = model.rating(*model.places(test))
    if targets == "hard":
        assert rating is None
    else:
        assert rating is not None
        assert metrics.rmse(test.value, rating) < 0.95 * test.value.std()


def test_regression_predicts_ratings_on_their_scale_and_calibrated_likes() -> None:
    train, test = tastes()
    model = fit_fm(
        train, FmOptions(objective="regression", factors=8, learning_rate=0.02, batch=256, epochs=20)
    ).model
    user, item = model.places(test)
    rating = model.rating(user, item)
    assert rating is not None
    assert metrics.rmse(test.value, rating) < 0.8 * test.value.std()
    assert rating.min() >= 1
    assert rating.max() <= 5
    assert metrics.log_loss(test.value >= 4, model.probability(user, item)) < 0.5


def test_equal_seeds_give_equal_models_and_others_do_not(fitted: FmFit) -> None:
    train = tastes()[0]
    again = fit_fm(train, SMALL)
    other = fit_fm(train, FmOptions(**{name: getattr(SMALL, name) for name in SMALL.__struct_fields__} | {"seed": 1}))
    np.testing.assert_array_equal(again.model.user_vectors, fitted.model.user_vectors)
    assert again.model.threshold == fitted.model.threshold
    assert not np.array_equal(other.model.user_vectors, fitted.model.user_vectors)


def test_the_test_part_changes_nothing_in_a_fit(fitted: FmFit) -> None:
    train, test = tastes()
    turned = Ratings(test.users, test.items, test.user, test.item, 6 - test.value, test.time_s)
    report, (fit,) = run_fm(train, turned, SMALL, 1)
    np.testing.assert_array_equal(fit.model.user_vectors, fitted.model.user_vectors)
    assert fit.model.threshold == fitted.model.threshold
    assert report.accuracy < 0.5


def test_a_test_rating_among_the_training_ratings_is_refused() -> None:
    train, _ = tastes()
    with pytest.raises(BadInput, match=r"no test rating in the training part, but 1 of 1"):
        run_fm(train, train.rows(np.arange(1)), SMALL, 1)


def test_ratings_that_all_say_the_same_are_refused() -> None:
    train = tastes()[0]
    liked = train.rows(train.value >= 4)
    with pytest.raises(BadInput, match=r"expected ratings below and from 4 on in a validation part"):
        fit_fm(liked, SMALL)


def test_the_validation_part_has_equally_many_rows_of_each_user_and_spares_those_with_few() -> None:
    user = np.concatenate([np.zeros(300, int), np.ones(30, int), np.full(6, 2), np.full(2, 3)])
    counts = np.bincount(user[validation_rows(user, 0.1, seed=0)], minlength=4)
    assert counts.tolist() == [8, 8, 2, 0]


def test_calibration_recovers_the_slope_and_intercept_that_made_the_answers() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(0, 1, 200_000)
    slope, intercept = calibrate(score, rng.random(len(score)) < sigmoid(2.5 * score - 0.7))
    assert slope == pytest.approx(2.5, abs=0.05)
    assert intercept == pytest.approx(-0.7, abs=0.05)


def test_calibration_stays_finite_where_scores_separate_the_classes() -> None:
    score = np.array([-2.0, -1.0, 1.0, 2.0])
    slope, intercept = calibrate(score, score > 0)
    assert slope > 1
    assert np.isfinite([slope, intercept]).all()


@pytest.mark.parametrize(
    ("probability", "positive", "threshold"),
    [
        ([0.1, 0.3, 0.6, 0.9], [False, False, True, True], 0.45),
        ([0.1, 0.2, 0.3, 0.4], [False, False, True, True], 0.25),
        ([0.5, 0.5, 0.5, 0.9], [False, True, True, True], 0.0),
        ([0.2, 0.3], [False, False], 1.0),
    ],
)
def test_the_threshold_gives_the_most_right_answers(
    probability: list[float], positive: list[bool], threshold: float
) -> None:
    assert best_threshold(np.array(probability), np.array(positive)) == pytest.approx(threshold)


def test_the_graph_answers_as_the_machines_do(fitted: FmFit) -> None:
    assert export.check_parity(fitted, export.build_fm(fitted.model)) < 1e-6


def test_the_graph_gives_unknown_users_and_items_what_is_known_of_the_other_side(fitted: FmFit) -> None:
    session = onnxruntime.InferenceSession(export.build_fm(fitted.model))
    places = {"user": np.array([-1, -1, 3]), "item": np.array([-1, 5, -1])}
    (given,) = session.run(["probability"], places)
    model = fitted.model
    logits = (
        model.slope * (model.offset + np.array([0, model.item_biases[5], model.user_biases[3]])) + model.intercept
    )
    np.testing.assert_allclose(given, sigmoid(logits), atol=1e-6)


def test_a_graph_that_answers_differently_is_refused(fitted: FmFit) -> None:
    graph = onnx.load_from_string(export.build_fm(fitted.model))
    (offset,) = [each for each in graph.graph.initializer if each.name == "offset"]
    offset.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(offset) + np.float32(0.01), "offset"))
    with pytest.raises(ModelRefused, match=r"fm.onnx: probabilities differ"):
        export.check_parity(fitted, graph.SerializeToString())


def test_features_tell_of_ids_that_have_no_ratings() -> None:
    train, _ = tastes()
    kinds = {f"i{item}": (f"kind {item % 3}",) for item in range(ITEMS + 2)}
    fit = fit_fm(train, SMALL, item_features={"kind": kinds})
    new = np.array([fit.model.items.index("i60"), fit.model.items.index("i61")])
    fans = np.array([fit.model.users.index(f"u{user}") for user in range(USERS) if user % 3 == 60 % 3])
    liked, minded = (fit.model.probability(fans, np.full(len(fans), item)).mean() for item in new)
    assert liked > minded + 0.2
    assert export.check_parity(fit, export.build_fm(fit.model)) < 1e-6


def test_columns_are_numbered_by_side_and_filled_up() -> None:
    train = Ratings.of(["a", "b"], ["x", "x"], [1, 5])
    columns = columns_of(train, {"age": {"a": ["20"], "c": ["30"]}}, {"genre": {"x": ["war", "war", "crime"]}})
    assert columns.users == ["a", "b", "c"]
    assert columns.user.tolist() == [[0, 3], [1, 8], [2, 4]]
    assert columns.item.tolist() == [[5, 6, 7]]
    assert columns.trained.tolist() == [True, True, False, True, False, True, True, True, False]


def test_features_are_read_from_movielens_files_and_csv(tmp_path: Path) -> None:
    (tmp_path / "u.user").write_text("1|24|M|technician|85711\n2|53|F|other|94043\n")
    (tmp_path / "who.csv").write_text("user,group\na,x|y\nb,\n")
    (tmp_path / "what.csv").write_text("item,title,genres\n7,Seven,crime|drama\n")
    found = user_features(tmp_path / "u.user")
    assert found == {
        "age": {"1": ("20",), "2": ("50",)},
        "sex": {"1": ("M",), "2": ("F",)},
        "occupation": {"1": ("technician",), "2": ("other",)},
    }
    assert user_features(tmp_path / "who.csv") == {"group": {"a": ("x", "y"), "b": ()}}
    assert item_genres(tmp_path / "what.csv") == {"genre": {"7": ("crime", "drama")}}


@pytest.mark.parametrize("text", ["", "who,group\na,x\n", "user\na\n", "user,group\na\n"])
def test_a_file_that_holds_no_features_of_users_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "who.csv").write_text(text)
    with pytest.raises(BadInput, match=r"who\.csv"):
        user_features(tmp_path / "who.csv")


def test_a_sweep_goes_on_where_it_stopped_and_starts_with_the_defaults(tmp_path: Path) -> None:
    train, plan, defaults = tastes()[0], FmPlan(members=1, n_folds=2), FmOptions()
    first = sweep_fm(train, plan, study=tmp_path / "s.db", name="fm", trials=1)
    told: list[int] = []
    second = sweep_fm(train, plan, study=tmp_path / "s.db", name="fm", trials=3, progress=told.append)
    assert first.trials[0].options == {
        name: getattr(defaults, name) for name in ("factors", "regularization", "learning_rate")
    }
    assert second.trials[0] == first.trials[0]
    assert told == [1, 2, 3]
    assert second.best_score == min(trial.score for trial in second.trials if trial.score is not None)
    assert second.best.members == 1
    with pytest.raises(BadInput, match=r"study 'fm' in .* is about other ratings"):
        sweep_fm(tastes(1)[0], plan, study=tmp_path / "s.db", name="fm", trials=4)


def test_too_good_a_figure_on_the_movielens_pair_is_reported_as_a_leak() -> None:
    def ratings(count: int) -> Ratings:
        place, none = np.zeros(count, dtype=np.int32), np.zeros(count, dtype=np.int64)
        return Ratings(["u"], ["i"], place, place, np.ones(count, dtype=np.float32), none)

    base, test = ratings(90_570), ratings(9_430)
    assert "leak alarm: accuracy 0.7300" in _warnings(base, test, 0.73, 0.58)[0]
    assert _warnings(base, test, 0.7299, 0.58) == []
    assert _warnings(ratings(100), test, 0.9, 0.58) == []
    assert "not above 0.5800" in _warnings(base, test, 0.57, 0.58)[0]


def test_the_command_writes_means_at_the_top_and_every_seed_below(tmp_path: Path) -> None:
    for name, part in zip(("a.csv", "b.csv"), tastes(), strict=True):
        (tmp_path / name).write_bytes(csv(part))
    files = ["--train", str(tmp_path / "a.csv"), "--test", str(tmp_path / "b.csv")]
    size = ["--factors", "4", "--members", "1", "--seeds", "2", "--json", "--report", str(tmp_path / "out.json")]
    result = CliRunner().invoke(app, ["train", "fm", *files, *size])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out.json").read_bytes())
    assert json.loads(result.stdout) == report
    for name in ("accuracy", "f1", "log_loss", "auc", "rmse", "mae"):
        assert report[name] == pytest.approx(np.mean([seed["test"][name] for seed in report["seeds"]]))
    assert [seed["seed"] for seed in report["seeds"]] == [0, 1]
    assert report["fit_seconds"] > 0
    assert max(seed["parity"] for seed in report["seeds"]) < 1e-5


def test_the_command_refuses_a_pair_of_which_one_holds_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item,rating\na,x,5\nb,x,1\n")
    both = ["--train", str(tmp_path / "a.csv"), "--test", str(tmp_path / "a.csv")]
    result = CliRunner().invoke(app, ["train", "fm", *both])
    assert isinstance(result.exception, BadInput)
    assert "2 of 2 are in it: (a, x) rated 5" in str(result.exception)
