"""`penstock demo`, and the foreground of `penstock up`."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Penstock, alive

# Many processes: a busy machine takes several times as long as an idle one.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def test_the_demo_takes_readings_to_alerts_and_finds_the_faults(penstock: Penstock) -> None:
    summary = penstock.json("demo", "--devices", "4", "--picture", str(penstock.home.parent / "film.png"))
    assert summary["readings"] == 4 * 3 * 31 * 60
    assert summary["windows"] == summary["scored"] == 4 * 3 * 31
    assert summary["late"] == summary["duplicates"] == summary["dead_lettered"] == summary["learning"] == 0
    assert summary["series_trained"] == 12
    assert 2 * summary["faults_found"] >= summary["faults_injected"] > 0
    assert summary["alerts"] >= summary["faults_found"]
    assert summary["seconds"] < 120
    assert summary["film_frames"] == 75
    assert Path(summary["film_picture"]).read_bytes().startswith(b"\x89PNG")


def test_the_foreground_trains_feeds_shows_and_stops_at_ctrl_c(penstock: Penstock) -> None:
    process = penstock.start("up", "--devices", "3")
    assert process.stdout is not None
    lines: list[str] = []
    deadline = time.monotonic() + 120
    try:
        # The last minutes are fed at once, so scores come long before the first live window closes.
        while not any(" scored" in line and " 0 scored" not in line for line in lines):
            assert time.monotonic() < deadline, lines
            lines.append(process.stdout.readline())
        pids = penstock.pids()
        assert len(pids) == 6
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    assert "Penstock stopped" in out
    assert "Traceback" not in err
    assert not any(alive(pid) for pid in pids.values())
