"""Storage is killed in the middle of a training run: the run ends, the live version stays, and the next run works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Penstock
from tests.unit import tastes
from tests.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.scheduled, pytest.mark.timeout(600)]

ENDS = {"promoted", "refused", "failed"}


def test_a_run_whose_storage_is_killed_ends_and_the_live_version_answers(penstock: Penstock, tmp_path: Path) -> None:
    penstock.settings.update({"PENSTOCK_TRAIN_LOCK_S": "4", "PENSTOCK_GATE_TOLERANCE": "0.05"})
    ratings = tmp_path / "ratings.csv"
    # Large enough for a fit to be under way when storage dies.
    ratings.write_bytes(tastes.csv(tastes.ratings(users=2_000, items=300, each=60)))
    penstock.run("up", "--detach")
    first = penstock.json("runs", "train", str(ratings), "--wait")
    assert first["stages"][-1]["stage"] == "promoted"
    # A killed Azurite forgets what it has not saved yet, as no account does: not what this is about.
    wait_for(lambda: _saved(penstock, "recommender/aliases.json"))

    again = tmp_path / "again.csv"
    again.write_bytes(ratings.read_bytes())
    penstock.run("runs", "train", str(again))
    trainer = penstock.pids()["trainer"]
    wait_for(lambda: _children(trainer))
    penstock.kill("azurite")
    run = penstock.json("runs", "show")
    assert run["source"] == "ratings-in/again.csv"
    assert run["stages"][-1]["stage"] not in ENDS
    penstock.until_ready()
    assert _live(penstock) == first["model_version"]
    assert penstock.json("recommend", "1")["model_version"] == first["model_version"]

    run = wait_for(
        lambda: (found := penstock.json("runs", "show", run["id"]))["stages"][-1]["stage"] in ENDS and found
    )
    assert run["stages"][-1]["detail"]
    promoted = run["stages"][-1]["stage"] == "promoted"
    assert _live(penstock) == (run["model_version"] if promoted else first["model_version"])

    last = tmp_path / "last.csv"
    last.write_bytes(ratings.read_bytes())
    third = penstock.json("runs", "train", str(last), "--wait")
    assert third["stages"][-1]["stage"] == "promoted"
    assert _live(penstock) == third["model_version"]


def _live(penstock: Penstock) -> Any:
    return penstock.json("models", "list", "--model", "recommender")["live"]


def _saved(penstock: Penstock, blob: str) -> bool:
    """Whether Azurite's own file knows the blob."""
    files = (penstock.home / "data").glob("**/__azurite_db_blob__.json")
    return any(blob in file.read_text(errors="replace") for file in files)


def _children(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return any(thread.read_text().strip() for thread in threads)
