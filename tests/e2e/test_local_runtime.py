"""`penstock up --detach`, `status`, `logs`, `down` and `doctor` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.request
from typing import Any

import pytest

from tests.e2e.conftest import Penstock, alive

# Many processes: a busy machine takes several times as long as an idle one.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def test_a_runtime_starts_heals_and_stops_without_leaving_a_process(penstock: Penstock) -> None:
    up = penstock.json("up", "--detach")
    assert up["state"] == "ready"
    status = penstock.json("status")
    parts = {part["name"]: part for part in status["parts"]}
    assert list(parts) == ["azurite", "hub", "functions", "stream", "trainer", "video"]
    assert {part["state"] for part in parts.values()} == {"ready"}
    base = penstock.port_base
    assert parts["hub"]["ports"] == {"kafka": base + 1, "amqp": base + 6, "http": base + 7}
    assert f"Endpoint=sb://localhost:{base + 6};" in status["devices_connection"]
    with urllib.request.urlopen(f"{status['hub_page']}/health", timeout=5) as answer:
        assert json.load(answer)["status"] == "healthy"
    assert "already running" in penstock.run("up", "--detach")
    assert "already running" in _refusal(penstock, "up")

    penstock.kill("functions")
    deadline = time.monotonic() + 20
    while not (again := {p["name"]: p for p in _status(penstock)["parts"]})["functions"]["restarts"]:
        assert time.monotonic() < deadline
    penstock.until_ready()
    assert again["hub"]["pid"] == parts["hub"]["pid"]

    pids = penstock.pids()
    assert len(pids) == 6
    assert "functions" in penstock.json("logs", "functions")
    penstock.run("down")
    assert not any(alive(pid) for pid in (*pids.values(), status["supervisor"]))
    assert penstock.json("status", code=3)["parts"] == []

    # The second start is quick and knows its data.
    begun = time.monotonic()
    penstock.run("up", "--detach")
    assert time.monotonic() - begun < 20  # under 10 s on a machine with nothing else to do
    pids = penstock.pids()
    supervisor = penstock.json("status")["supervisor"]
    os.kill(supervisor, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in pids.values()):
        assert time.monotonic() < deadline, "parts outlived their killed supervisor"
        time.sleep(0.05)
    penstock.run("down", "--wipe")
    assert not (penstock.home / "data").exists()


def test_a_taken_port_is_named_with_its_remedy(penstock: Penstock) -> None:
    with socket.create_server(("127.0.0.1", penstock.port_base + 1)):
        said = _refusal(penstock, "up", "--detach")
    assert f"{penstock.port_base + 1} (kafka)" in said
    assert "--port-base" in said
    assert "Traceback" not in said


def test_doctor_finds_this_environment_well(penstock: Penstock) -> None:
    # Ports are left out: the usual ones may be in use by a Penstock of the user who runs the tests.
    process = penstock.start("doctor", "--json")
    report = json.loads(process.communicate()[0])
    assert process.returncode == (0 if report["ok"] else 1)
    assert [check for check in report["checks"] if not check["ok"] and check["name"] != "ports"] == []
    assert {"python", "node", "azurite", "ports", "disk", "packages", "onnxruntime"} <= {
        check["name"] for check in report["checks"]
    }


def _status(penstock: Penstock) -> Any:
    process = penstock.start("status", "--json")
    out, _ = process.communicate()
    return json.loads(out)


def _refusal(penstock: Penstock, *arguments: str) -> str:
    process = penstock.start(*arguments)
    _, said = process.communicate()
    assert process.returncode == 1, said
    return said
