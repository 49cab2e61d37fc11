"""Training against a real storage account: the commands, and the worker as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from infra.azure.blobs import AzureBlobs
from infra.azure.queues import AzureQueue
from infra.cli import models, train
from infra.local.azurite import RunningAzurite, running_azurite
from models.contracts import TrainRequest
from models.errors import NotFound
from models.inference import load_bank
from models.names import TRAIN_QUEUE, raw_blob
from models.registry import Registry
from models.tables import encode_readings
from tests.unit.svm import SPEC, readings

pytestmark = pytest.mark.integration

A, B = ("a", "x"), ("b", "y")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAzurite]:
    # Its own: the name of the training queue is fixed, and a test here stops the account.
    with running_azurite(tmp_path_factory.mktemp("training")) as azurite:
        yield azurite


@pytest.fixture(autouse=True)
def _environment(account: RunningAzurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> None:
    monkeypatch.setenv("DataStorage", account.connection_string)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    # A model and a hub per test keep the tests apart.
    monkeypatch.setenv("PENSTOCK_MODEL", request.node.name.replace("_", "-")[:60])
    monkeypatch.setenv("PENSTOCK_HUB", request.node.name.replace("_", "-")[:60])


@pytest.fixture
def blobs(account: RunningAzurite) -> Iterator[AzureBlobs]:
    store = AzureBlobs(account.connection_string)
    yield store
    store.close()


@pytest.fixture
def name(request: Any) -> str:
    return str(request.node.name.replace("_", "-")[:60])


def run(app: typer.Typer, *arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def write_csv(path: Path) -> Path:
    history = readings(A, B, minutes=30)
    rows = zip(history.device, history.sensor, history.ts_us.tolist(), history.value.tolist(), strict=True)
    path.write_text("D,S,T,V\n" + "".join(f"{d},{s},{ts / 1e6},{value}\n" for d, s, ts, value in rows))
    return path


def wait_for(what: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.05)


def test_a_csv_file_is_trained_promoted_listed_and_rolled_back(tmp_path: Path) -> None:
    arguments = ("svm", "--csv", str(write_csv(tmp_path / "r.csv")), "--columns", "device=D,sensor=S,ts=T,value=V")
    first = run(train.app, *arguments, "--promote")
    assert (first["fitted"], first["windows"], first["refused"], first["promoted"]) == (2, 60, [], True)
    second = run(train.app, *arguments, "--series", "a", "--nu", "0.1")
    assert (second["fitted"], second["series"], second["based_on"]) == (1, 2, first["version"])

    listed = run(models.app, "list")
    assert (listed["live"], [row["version"] for row in listed["versions"]]) == (
        first["version"],
        sorted([first["version"], second["version"]]),
    )
    promoted = run(models.app, "promote", second["version"])
    assert (promoted["live"], promoted["previous"]) == (second["version"], first["version"])
    assert run(models.app, "show")["version"] == second["version"]
    assert run(models.app, "rollback")["live"] == first["version"]

    exported = run(models.app, "export-edge", "a", "x", "--out", str(tmp_path / "edge"))
    assert exported["version"] == first["version"]
    assert (tmp_path / "edge" / "model.onnx").stat().st_size > 500


def test_the_archive_is_trained_without_a_file(blobs: AzureBlobs, name: str) -> None:
    blobs.create(raw_blob(name, 0, 0), encode_readings(readings(A, minutes=30)))
    trained = run(train.app, "svm", "--from-archive")
    assert (trained["fitted"], trained["promoted"]) == (1, False)


def test_texts_for_people_name_the_version_and_the_next_step(blobs: AzureBlobs, name: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "r.csv")
    arguments = ["svm", "--csv", str(path), "--columns", "device=D,sensor=S,ts=T,value=V"]
    trained = CliRunner().invoke(train.app, arguments, catch_exceptions=False)
    (version,) = Registry(blobs, name).versions()
    assert f"penstock models promote {version}" in trained.stdout
    shown = CliRunner().invoke(models.app, ["show", version], catch_exceptions=False)
    assert version in shown.stdout
    assert version in CliRunner().invoke(models.app, ["list"], catch_exceptions=False).stdout


def test_a_version_that_is_not_there_is_an_error() -> None:
    for arguments in (["promote", "v9"], ["rollback"], ["show"], ["show", "v9"]):
        with pytest.raises(NotFound):
            CliRunner().invoke(models.app, arguments, catch_exceptions=False)


def test_a_request_needs_one_source() -> None:
    assert CliRunner().invoke(train.app, ["svm"]).exit_code == 2
    assert CliRunner().invoke(train.app, ["svm", "--from-archive", "--nu", "0"]).exit_code == 2


def test_the_worker_trains_requests_outlives_an_outage_and_stops_cleanly(
    account: RunningAzurite, blobs: AzureBlobs, name: str, tmp_path: Path
) -> None:
    blobs.create(raw_blob(name, 0, 0), encode_readings(readings(A, B, minutes=30)))
    queue = AzureQueue(account.connection_string, TRAIN_QUEUE)
    registry = Registry(blobs, name)
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen([sys.executable, "-m", "infra.wiring.training"], stderr=log)
    try:
        queue.send(msgspec.json.encode(TrainRequest(hub=name, spec=SPEC.name, series=[A])))
        wait_for(lambda: registry.aliases().aliases.live)
        wait_for(lambda: queue.length() == 0)
        first = registry.aliases().aliases.live
        # scikit-learn and onnx were loaded by the job alone.
        libraries = Path(f"/proc/{worker.pid}/maps").read_text()
        assert "sklearn" not in libraries
        assert "onnx" not in libraries

        account.stop()
        time.sleep(1.5)
        account.start()
        queue.send(msgspec.json.encode(TrainRequest(hub=name, spec=SPEC.name, series=[A, B])))
        wait_for(lambda: registry.aliases().aliases.live != first)
        live = registry.aliases().aliases.live
        assert live is not None
        assert len(load_bank(registry, live)) == 2

        wait_for(lambda: queue.length() == 0)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
        assert "trained 1 series, skipped 1, refused 0" in (tmp_path / "worker.log").read_text()
    finally:
        queue.close()
        worker.kill()
        worker.wait()
