"""What the commands on ratings write, print and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli import main
from models.errors import BadInput

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    sizes = ["--users", "80", "--items", "60", "--ratings", "900"]
    assert RUNNER.invoke(main.app, ["ratings", "generate", "--out", str(path), *sizes]).exit_code == 0
    return path


def test_training_writes_its_figures_under_plain_names(ratings: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.json"
    arguments = [
        "train",
        "als",
        "--ratings",
        str(ratings),
        "--split",
        "recommenders",
        "--ratio",
        "0.75",
        "--seed",
        "42",
    ]
    done = RUNNER.invoke(main.app, [*arguments, "--k", "5", "--engine", "native", "--report", str(out), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(out.read_text())
    assert json.loads(done.stdout) == document
    names = ("map", "map_at_k", "ndcg_at_k", "precision_at_k", "recall_at_k", "coverage", "novelty", "diversity")
    assert all(isinstance(document[name], float) for name in (*names, "fit_seconds"))
    assert document["ndcg_at_k"] > document["popularity"]["ndcg_at_k"]
    assert document["chronological"]["ndcg_at_k"] > 0
    assert (document["k"], document["split"]["kind"], document["engine"]) == (5, "recommenders", "native")
    text = out.with_suffix(".md").read_text()
    assert "popularity" in text
    assert "](out-metrics.png)" in text
    assert (out.parent / "out-metrics.png").read_bytes().startswith(b"\x89PNG")


def test_the_explicit_objective_reports_errors_of_ratings(ratings: Path) -> None:
    done = RUNNER.invoke(
        main.app, ["train", "als", "--ratings", str(ratings), "--objective", "explicit", "--rank", "4", "--json"]
    )
    assert 0.3 < json.loads(done.stdout)["rmse"] < 1.5


def test_a_sweep_writes_trials_and_the_winners_figures(ratings: Path, tmp_path: Path) -> None:
    out, study = tmp_path / "sweep.json", tmp_path / "s.db"
    sizes = ["--folds", "2", "--trials", "2", "--jobs", "2", "--k", "5"]
    arguments = ["sweep", "als", "--ratings", str(ratings), *sizes, "--study", str(study)]
    done = RUNNER.invoke(main.app, [*arguments, "--report", str(out)])
    assert done.exit_code == 0, done.output
    document = json.loads(out.read_text())
    assert len(document["trials"]) == 2
    assert document["best_score"] > 0
    assert document["ndcg_at_k"] > 0
    assert (tmp_path / "sweep-trials.png").exists()


def test_a_profile_is_figures_and_plots(ratings: Path, tmp_path: Path) -> None:
    done = RUNNER.invoke(main.app, ["ratings", "profile", str(ratings), "--out", str(tmp_path / "p")])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "p/profile.json").read_text())["users"] == 80
    assert len(list((tmp_path / "p").glob("*.png"))) == 4


def test_an_evaluation_compares_models_on_several_splits(ratings: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    arguments = ["evaluate", "--ratings", str(ratings), "--seed", "1", "--seed", "2", "--k", "5"]
    done = RUNNER.invoke(main.app, [*arguments, "--report", str(out), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())["models"]
    assert list(found) == [
        f"{model}, {split}" for split in ("recommenders", "chronological") for model in ("ALS", "popularity")
    ]
    assert found["ALS, recommenders"]["ndcg_at_k"] > found["popularity, recommenders"]["ndcg_at_k"]


def test_two_given_parts_are_evaluated_if_they_are_disjoint(ratings: Path, tmp_path: Path) -> None:
    header, *lines = ratings.read_text().splitlines()
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("\n".join([header, *lines[100:]]))
    test.write_text("\n".join([header, *lines[:100]]))
    done = RUNNER.invoke(main.app, ["evaluate", "--train", str(train), "--test", str(test), "--k", "5", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["models"]["ALS, given"]["ndcg_at_k"] > 0
    leaky = RUNNER.invoke(main.app, ["evaluate", "--train", str(ratings), "--test", str(test)])
    assert "100 of 100 are in it" in str(leaky.exception)
    assert RUNNER.invoke(main.app, ["evaluate", "--train", str(train)]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k", "0"], "k: expected 1..60, the number of items, got 0"),
        (["--k", "1000000"], "got 1000000"),
        (["--ratio", "1.5"], "ratio: expected a number between 0 and 1"),
        (["--report", "out.txt"], "ends in .json"),
        (["--rows", "7"], "expected 7 ratings"),
        (["--columns", "user=who"], "expected one column 'who'"),
    ],
)
def test_wrong_input_is_one_sentence(ratings: Path, arguments: list[str], message: str) -> None:
    done = RUNNER.invoke(main.app, ["train", "als", "--ratings", str(ratings), *arguments])
    assert isinstance(done.exception, BadInput)  # which `main` turns into a sentence and exit code 1
    assert message in str(done.exception)


@pytest.mark.parametrize(
    "arguments", [["--factors", "0"], ["--reg", "nan"], ["--split", "none"], ["--seed", "-1"], ["--engine", "gpu"]]
)
def test_wrong_options_are_wrong_usage(ratings: Path, arguments: list[str]) -> None:
    assert RUNNER.invoke(main.app, ["train", "als", "--ratings", str(ratings), *arguments]).exit_code == 2
