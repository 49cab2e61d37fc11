"""`penstock train fm --promote` and `sweep fm --register`, against real storage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from infra.azure.blobs import AzureBlobs
from infra.local.azurite import RunningAzurite
from models.inference.fm import load_machine
from models.registry import Registry
from tests.integration.commands import penstock
from tests.unit.tastes import csv
from tests.unit.test_recommend_fm import tastes

pytestmark = pytest.mark.integration


def test_a_machine_goes_live_and_a_worse_one_does_not(
    azurite: RunningAzurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DataStorage", azurite.connection_string)
    monkeypatch.setenv("PENSTOCK_FM", "train-fm")
    for name, part in zip(("a.csv", "b.csv"), tastes(), strict=True):
        (tmp_path / name).write_bytes(csv(part))
    files = ("--train", str(tmp_path / "a.csv"), "--test", str(tmp_path / "b.csv"))
    registry = Registry(AzureBlobs(azurite.connection_string), "train-fm")

    good = penstock("train", "fm", *files, "--seeds", "1", "--learning-rate", "0.02", "--promote")
    assert good["promoted"] is True
    assert registry.aliases().aliases.live == good["version"]
    machine = load_machine(registry, str(good["version"]))
    users, items = machine.places(["u0", "u0", "nobody"], ["i0", "i1", "i0"])
    likes, minds, _ = machine.probability(np.array(users), np.array(items))
    assert likes > 0.6 > 0.4 > minds

    worse = penstock("train", "fm", *files, "--seeds", "1", "--regularization", "5", "--promote")
    assert (worse["promoted"], registry.aliases().aliases.live) == (False, good["version"])

    study = ("--study", str(tmp_path / "s.db"), "--trials", "1", "--folds", "2")
    swept = penstock("sweep", "fm", *files, *study, "--register")
    assert swept["version"] in registry.versions()
    assert registry.aliases().aliases.live == good["version"]
