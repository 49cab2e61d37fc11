"""A hub in a process of its own, for tests: real clients, real restarts, real kills."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from .namespace import EMULATOR_KEY, ROOT_KEY_NAME

_PACKAGE = __package__ or "infra.local.eventhubs"
_ROOT = Path(__file__).resolve().parents[_PACKAGE.count(".") + 1]


class HubDied(Exception):
    """The hub ended before it was ready; the message holds what it said."""


class RunningHub:
    """A hub process on a data directory. After `kill` or `stop`, `restart` serves the same data on the same ports."""

    def __init__(self, command: list[str], data_dir: Path, start_timeout_s: float) -> None:
        self.data_dir = data_dir
        self.port = 0
        self.amqp_port = 0
        self.http_port: int | None = None
        """Only with the option `http_port`."""
        self._command = command
        self._start_timeout_s = start_timeout_s
        self._stderr_path = data_dir.with_name(f"{data_dir.name}.stderr")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def bootstrap(self) -> str:
        """What a client needs to know: host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def connection_string(self) -> str:
        """What a client of the Event Hubs SDK needs to know, with the key the official emulator has."""
        return self.connection_string_with(ROOT_KEY_NAME, EMULATOR_KEY)

    def connection_string_with(self, key_name: str, key: str) -> str:
        """The same with another access key."""
        return (
            f"Endpoint=sb://localhost:{self.amqp_port};SharedAccessKeyName={key_name};SharedAccessKey={key};"
            "UseDevelopmentEmulator=true;"
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def stderr(self) -> str:
        """What the hub has logged so far, over all its lives."""
        return self._stderr_path.read_text()

    def start(self) -> None:
        """Start the process and wait until it is ready; on the ports it had before, if any."""
        with self._stderr_path.open("ab") as stderr:
            self._process = subprocess.Popen(
                [*self._command, "--kafka-port", str(self.port), "--amqp-port", str(self.amqp_port)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=_ROOT,
            )
        stdout = self._process.stdout
        assert stdout is not None
        deadline = time.monotonic() + self._start_timeout_s
        ready = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))[0]
        line = stdout.readline() if ready else b""
        if not line:
            self.kill()
            raise HubDied(f"the hub was not ready within {self._start_timeout_s} s:\n{self.stderr}")
        ports = json.loads(line)
        self.port = ports["kafka_port"] or 0
        self.amqp_port = ports["amqp_port"]
        self.http_port = ports.get("http_port")

    def kill(self) -> None:
        """SIGKILL: the process gets no chance to finish anything."""
        self._end(signal.SIGKILL)

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM, and wait; returns the exit code. SIGKILL after `timeout_s`."""
        return self._end(signal.SIGTERM, timeout_s)

    def restart(self) -> None:
        """Stop the hub, unless it was killed, and start it again."""
        self.stop()
        self.start()

    def _end(self, signal_number: int, timeout_s: float = 10.0) -> int:
        process = self._process
        assert process is not None
        if process.poll() is None:
            process.send_signal(signal_number)
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()
        return process.returncode


@contextlib.contextmanager
def running_hub(
    data_dir: Path,
    hubs: Mapping[str, int] | None = None,
    *,
    start_timeout_s: float = 20.0,
    **options: str | float | bool,
) -> Iterator[RunningHub]:
    """A hub with these topics (name to partitions) until the block ends; the data stays.

    Options are those of the command line with underscores: `running_hub(d, {"readings": 4}, fsync="none",
    auto_create=True)`. The hub's log lies beside `data_dir`, as `<name>.stderr`.
    """
    command = [sys.executable, "-m", _PACKAGE, "serve", "--data", str(data_dir)]
    for name, partitions in (hubs or {}).items():
        command += ["--hub", f"{name}:{partitions}"]
    for option, value in options.items():
        flag = f"--{option.replace('_', '-')}"
        if value is True:
            command.append(flag)
        elif value is not False:
            command += [flag, str(value)]
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    hub = RunningHub(command, data_dir, start_timeout_s)
    try:
        yield hub
    finally:
        hub.stop()
