"""A replay is complete, repeatable, and the same with parts killed meanwhile."""

from __future__ import annotations

import csv
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.simulation import Fleet, plan_faults
from tests.e2e.conftest import Penstock

# Many processes: a busy machine takes several times as long as an idle one.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

MINUTE_US = 60_000_000
START_US = 1_700_000_040_000_000
TRAINED_MINUTES, REPLAYED_MINUTES = 60, 30
FLEET = Fleet(seed=11, devices=5, sensors=2, rate_hz=0.5)
READINGS, WINDOWS = 5 * 2 * 30 * REPLAYED_MINUTES, 5 * 2 * REPLAYED_MINUTES
PARTS = ("hub", "stream", "functions", "azurite")
SENSOR_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "sensors" / "sensor_data.csv"
SENSOR_COLUMNS = ("--columns", "device=Device,sensor=Sensor,ts=TS,value=Value")


def history(file: Path, *, begin: int, minutes: int, faulty: bool = False) -> Path:
    """CSV of the fleet from minute `begin` on."""
    start_us = START_US + begin * MINUTE_US
    end_us = start_us + minutes * MINUTE_US
    faults = plan_faults(FLEET.series, start_us, end_us, seed=1, every_s=300) if faulty else []
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("device", "sensor", "ts", "value"))
        for device in FLEET.devices:
            samples = FLEET.samples(device, start_us, end_us, faults)
            columns = (samples.sensor, (samples.ts_us / 1e6).tolist(), samples.value.tolist())
            writer.writerows((device, *row) for row in zip(*columns, strict=True))
    return file


def trained(penstock: Penstock, folder: Path) -> None:
    penstock.run("up", "--detach")
    file = history(folder / "train.csv", begin=0, minutes=TRAINED_MINUTES)
    assert penstock.json("train", "svm", "--csv", str(file), "--promote")["fitted"] == 10


def replayed(folder: Path) -> Path:
    return history(folder / "replay.csv", begin=TRAINED_MINUTES, minutes=REPLAYED_MINUTES, faulty=True)


Row = dict[str, Any]


def predictions(penstock: Penstock) -> list[Row]:
    """All rows, without the model version: it holds the time of training."""
    out = penstock.home / "predictions.csv"
    penstock.run("telemetry", "predictions", "--out", str(out))
    with out.open(newline="") as file:
        return [{name: row[name] for name in row if name != "model_version"} for row in csv.DictReader(file)]


def alerts(penstock: Penstock) -> list[Row]:
    """All alerts, without what depends on the wall clock."""
    wall = ("raised_at", "updated_at", "model_version")
    return [{n: alert[n] for n in alert if n not in wall} for alert in penstock.json("alerts", "list")]


def test_a_replay_is_accounted_for_and_a_second_one_changes_nothing(penstock: Penstock, tmp_path: Path) -> None:
    trained(penstock, tmp_path)
    file = replayed(tmp_path)
    live = penstock.start(
        *("telemetry", "simulate", "--devices", "3", "--prefix", "live", "--seconds", "20", "--rate", "5", "--json")
    )
    first = penstock.json("telemetry", "replay", str(file), "--wait")
    assert (first["readings"], first["windows"], first["scored"]) == (READINGS, WINDOWS, WINDOWS)
    assert first["late"] == first["duplicates"] == first["dead_lettered"] == first["learning"] == 0
    assert first["alerts"] > 0
    ours = set(FLEET.devices)
    rows = [row for row in predictions(penstock) if row["device"] in ours]
    raised = [alert for alert in alerts(penstock) if alert["device"] in ours]
    assert len(rows) == WINDOWS
    assert len(raised) == first["alerts"]

    second = penstock.json("telemetry", "replay", str(file), "--wait")
    assert (second["readings"], second["late"]) == (READINGS, READINGS)
    assert second["windows"] == second["scored"] == second["alerts"] == 0
    assert [row for row in predictions(penstock) if row["device"] in ours] == rows
    assert [alert for alert in alerts(penstock) if alert["device"] in ours] == raised

    out, err = live.communicate()
    assert live.returncode == 0, err
    assert json.loads(out)["readings"] == 3 * 3 * 20 * 5
    stream = penstock.json("status")["stream"]["totals"]
    assert (stream["late"], stream["dead_lettered"]) == (READINGS, 0)


def test_killing_each_part_during_a_replay_changes_no_prediction_and_no_alert(
    make_penstock: Callable[[str], Penstock], tmp_path: Path
) -> None:
    compare_with_kills(make_penstock, tmp_path, list(PARTS), random.Random(5))  # no secret


@pytest.mark.scheduled
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", PARTS)
def test_killing_a_part_ten_times_changes_no_prediction_and_no_alert(
    make_penstock: Callable[[str], Penstock], tmp_path: Path, part: str
) -> None:
    compare_with_kills(make_penstock, tmp_path, [part] * 10, random.Random(part))  # no secret


def compare_with_kills(
    make_penstock: Callable[[str], Penstock], folder: Path, kills: list[str], chance: random.Random
) -> None:
    file = replayed(folder)
    calm = make_penstock("calm")
    trained(calm, folder)
    calm.json("telemetry", "replay", str(file), "--wait")
    expected_rows, expected_alerts = predictions(calm), alerts(calm)
    assert len(expected_rows) == WINDOWS
    assert expected_alerts
    calm.run("down")

    rough = make_penstock("rough")
    trained(rough, folder)
    time.sleep(6)  # Azurite saves every five seconds: the kills shall hit the replay, not the training
    speed = REPLAYED_MINUTES * 60 / (7.0 * len(kills))
    replay = rough.start("telemetry", "replay", str(file), "--wait", "--json", "--speed", f"{speed:.1f}")
    for part in kills:
        time.sleep(chance.uniform(0.5, 3.0))
        rough.kill(part)
        rough.until_ready()
    out, err = replay.communicate()
    assert replay.returncode == 0, (out, err)
    report = json.loads(out)
    assert (report["readings"], report["windows"], report["scored"]) == (READINGS, WINDOWS, WINDOWS)
    # A last kill may have come after the replay's end and taken stored results with it: they are made again.
    deadline = time.monotonic() + 60
    while predictions(rough) != expected_rows and time.monotonic() < deadline:
        time.sleep(1)
    assert predictions(rough) == expected_rows
    assert alerts(rough) == expected_alerts


@pytest.mark.skipif(not SENSOR_DATA.exists(), reason="needs the sensor data of the reference pipeline")
def test_the_reference_sensor_data_gives_its_known_counts(penstock: Penstock) -> None:
    penstock.run("up", "--detach")
    penstock.run("train", "svm", "--csv", str(SENSOR_DATA), *SENSOR_COLUMNS, "--promote")
    report = penstock.json("telemetry", "replay", str(SENSOR_DATA), *SENSOR_COLUMNS, "--wait")
    assert (report["readings"], report["windows"], report["scored"]) == (17_768, 3_781, 3_781)
    assert report["late"] == report["duplicates"] == report["dead_lettered"] == report["learning"] == 0
