"""`penstock train als --promote` and `sweep als`, against real storage."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.azure.blobs import AzureBlobs
from infra.cli import main
from infra.local.azurite import RunningAzurite
from infra.state.sqlite import SqliteState
from models.contracts.feedback import ForgetEvent
from models.inference.recommender import load_recommender
from models.recommend.history import apply_events
from models.registry import Registry
from tests.integration.commands import penstock

pytestmark = pytest.mark.integration


def test_a_fit_goes_live_with_its_users_and_a_worse_one_does_not(
    azurite: RunningAzurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DataStorage", azurite.connection_string)
    monkeypatch.setenv("PENSTOCK_STATE_PATH", str(tmp_path / "state.db"))
    monkeypatch.setenv("PENSTOCK_RECOMMENDER", "train-als")
    ratings = tmp_path / "r.csv"
    sizes = ("--users", "80", "--items", "60", "--ratings", "900")
    assert CliRunner().invoke(main.app, ["ratings", "generate", "--out", str(ratings), *sizes]).exit_code == 0
    registry = Registry(AzureBlobs(azurite.connection_string), "train-als")

    good = penstock("train", "als", "--ratings", str(ratings), "--promote")
    assert good["promoted"] is True
    assert registry.aliases().aliases.live == good["version"]
    manifest = registry.manifest(str(good["version"]))
    assert manifest.metrics["ndcg_at_k"] == good["ndcg_at_k"]
    (listed,) = penstock("models", "list", "--model", "train-als")["versions"]
    assert (listed["items"], "series" in listed) == (manifest.items, False)
    assert manifest.items == len(load_recommender(registry, manifest.version).catalogue)
    shown = CliRunner().invoke(main.app, ["models", "list", "--model", "train-als"]).stdout
    assert f"{manifest.items} items" in shown
    state = SqliteState(tmp_path / "state.db")
    assert len(state.query("recommender", id_prefix="profile")) == 80

    apply_events(state, "7", [ForgetEvent(user="7", time_us=time.time_ns() // 1000)])
    worse = penstock("train", "als", "--ratings", str(ratings), "--promote", "--reg", "900", "--model-seed", "1")
    assert (worse["promoted"], registry.aliases().aliases.live) == (False, good["version"])
    # Who was deleted is in no later fit.
    assert worse["left_out"]["users"] == 1
    assert worse["ratings"]["rows"] == good["ratings"]["rows"] - worse["left_out"]["ratings"]
    assert worse["users"] == good["users"] - 1

    study = str(tmp_path / "s.db")
    swept = penstock(
        "sweep", "als", "--ratings", str(ratings), "--trials", "1", "--folds", "2", "--study", study, "--jobs", "1"
    )
    assert swept["version"] in registry.versions()
    assert registry.aliases().aliases.live == good["version"]
    assert swept["left_out"]["users"] == 1

    # A command has a run as an upload has, and can be withdrawn like one.
    assert penstock("runs", "show", str(good["run"]))["upload"] == "r.csv: trained on by later runs"
    for _ in range(2):
        assert penstock("runs", "withdraw", str(good["run"]))["stages"][-1]["stage"] == "withdrawn"
    assert state.query("recommender", id_prefix="profile") == []
