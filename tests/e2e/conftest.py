"""A Penstock of one's own: data folder, ports and the command as a user runs it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.local.runtime_ports import RuntimePorts


@dataclass
class Penstock:
    """The command with its own PENSTOCK_HOME; ports are chosen at the first `up`."""

    home: Path
    port_base: int
    settings: dict[str, str] = field(default_factory=dict)
    """Environment variables beside those that say where it is."""
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli.main", *arguments],
            env={
                **os.environ,
                **self.settings,
                "PENSTOCK_HOME": str(self.home),
                "PENSTOCK_PORT_BASE": str(self.port_base),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Stop the runtime and whatever a failed test left running."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        self.run("down")

    def run(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        out, err = process.communicate()
        assert process.returncode == code, f"penstock {' '.join(arguments)}: {process.returncode}\n{out}\n{err}"
        return out

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code))

    def pids(self) -> dict[str, int]:
        """Process id of each part that runs."""
        state = json.loads((self.home / "run" / "state.json").read_bytes())
        return {part["name"]: part["pid"] for part in state["parts"] if part["pid"]}

    def kill(self, part: str) -> None:
        """SIGKILL a part; return when the supervisor has seen it."""
        pid = self.pids()[part]
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while self.pids().get(part) == pid:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def until_ready(self, timeout_s: float = 60.0) -> None:
        """Return when every part is ready again."""
        deadline = time.monotonic() + timeout_s
        while True:
            state = json.loads((self.home / "run" / "state.json").read_bytes())
            if all(part["state"] == "ready" for part in state["parts"]):
                return
            assert time.monotonic() < deadline, state
            time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def free_base() -> int:
    while True:
        base = random.randrange(20_000, 32_000)
        if not RuntimePorts.from_base(base).taken():
            return base


@pytest.fixture
def make_penstock(tmp_path: Path) -> Iterator[Callable[[str], Penstock]]:
    """Makes Penstocks by name; each is stopped with the test."""
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Penstock:
            made = Penstock(tmp_path / name, free_base())
            stack.callback(made.end)
            return made

        yield make


@pytest.fixture
def penstock(make_penstock: Callable[[str], Penstock]) -> Penstock:
    return make_penstock("home")
