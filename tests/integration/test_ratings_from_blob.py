"""`--ratings blob://CONTAINER/PATH`: the figures of the same file, and one sentence where there is no such blob."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.azure.blobs import AzureBlobs
from infra.cli import main
from infra.local.azurite import RunningAzurite
from models.errors import BadInput, ConfigurationError, NotFound
from tests.integration.commands import penstock
from tests.unit import tastes

pytestmark = pytest.mark.integration

RATINGS = tastes.ratings(users=60, items=40, each=12)
BLOB = "blob://some-ratings/of 2026/r.csv"


@pytest.fixture(autouse=True)
def _account(azurite: RunningAzurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DataStorage", azurite.connection_string)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    blobs = AzureBlobs(azurite.connection_string)
    blobs.replace("some-ratings/of 2026/r.csv", tastes.csv(RATINGS))
    blobs.close()


def test_ratings_in_a_blob_give_the_figures_of_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(tastes.csv(RATINGS))
    here, there = (penstock("train", "als", "--ratings", source) for source in (str(path), BLOB))
    assert here["ratings"] == there["ratings"]
    assert [here[name] for name in ("ndcg_at_k", "map")] == [there[name] for name in ("ndcg_at_k", "map")]
    figures = [penstock("evaluate", "--ratings", source)["models"] for source in (str(path), BLOB)]
    assert figures[0] == figures[1]


def test_a_profile_of_a_blob_leaves_no_copy_of_it(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    subprocess.run(
        [sys.executable, "-m", "infra.cli.main", "ratings", "profile", BLOB, "--out", str(tmp_path / "profile")],
        check=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert (tmp_path / "profile" / "profile.json").exists()
    assert list(scratch.glob("penstock-blob-*")) == []


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("blob://some-ratings/none.csv", NotFound, "some-ratings/none.csv"),
        ("blob://no-container/r.csv", NotFound, "no-container/r.csv"),
        ("blob://some-ratings", BadInput, "<container>/<path>"),
        ("blob://some-ratings/", BadInput, "blob://CONTAINER/PATH"),
        ("abfss://some-ratings@account.dfs.core.windows.net/r.csv", BadInput, "spark-submit"),
    ],
)
def test_what_is_no_blob_is_said_in_a_sentence(source: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CliRunner().invoke(main.app, ["train", "als", "--ratings", source], catch_exceptions=False)


def test_without_a_storage_account_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DataStorage")
    with pytest.raises(ConfigurationError, match="set DataStorage"):
        CliRunner().invoke(main.app, ["train", "als", "--ratings", BLOB], catch_exceptions=False)


def test_a_path_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(main.app, ["train", "als", "--ratings", str(tmp_path / "none.csv")])
    assert done.exit_code == 2
    assert "does not exist" in done.output
    assert CliRunner().invoke(main.app, ["train", "als", "--ratings", str(tmp_path)]).exit_code == 2


def test_the_main_program_ends_with_the_sentence_and_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["penstock", "train", "als", "--ratings", "blob://some-ratings/none.csv"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("penstock: blob some-ratings/none.csv")
