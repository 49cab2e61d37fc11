"""Function apps written by tests, run by a real host process on a real Azurite."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from infra.local.azurite import RunningAzurite, running_azurite

PRELUDE = """
import os, time, asyncio, logging, typing
import azure.functions as func
app = func.FunctionApp()
print("an app may print while it is loaded")
def note(text):
    with open(os.environ["NOTES"], "a") as file:
        file.write(text + "\\n")
"""
QUICK = {"version": "2.0", "extensions": {"queues": {"maxPollingInterval": "00:00:00.200"}}}


class RunningHost:
    """One host process; its app notes what it did in a file."""

    def __init__(self, app_dir: Path, connection: str, *options: str) -> None:
        self.app_dir = app_dir
        self.notes_path = app_dir / "notes.txt"
        self.log_path = app_dir / "host.log"
        environment = {**os.environ, "AzureWebJobsStorage": connection, "NOTES": str(self.notes_path)}
        with self.log_path.open("a") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "infra.local.functions_host", "--app", str(app_dir), "--port", "0"),
                    *("--host-id", "tests", "--queue-lock-s", "2", "--blob-scan-s", "0.2", *options),
                ],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.ready: dict[str, Any] = json.loads(line) if line else {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ready['port']}"

    @property
    def keys(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.app_dir / ".functions_host" / "keys.json").read_text())
        return content

    def admin(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {"x-functions-key": self.keys["masterKey"]}
        return httpx.request(method, f"{self.url}/admin/{path}", headers=headers, **arguments)

    def notes(self) -> list[str]:
        return self.notes_path.read_text().splitlines() if self.notes_path.exists() else []

    def log(self) -> str:
        return self.log_path.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self, timeout_s: float = 15) -> int:
        code = self.process.wait(timeout_s)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


StartHost = Callable[..., RunningHost]


@pytest.fixture
def start_host(tmp_path: Path) -> Iterator[StartHost]:
    """Write an app (or keep the one that is there), start a host on it, and end what a test leaves behind."""
    started: list[RunningHost] = []

    def start(
        connection: str, body: str | None = None, host_json: dict[str, Any] = QUICK, options: tuple[str, ...] = ()
    ) -> RunningHost:
        app_dir = tmp_path / "app"
        app_dir.mkdir(exist_ok=True)
        if body is not None:
            (app_dir / "function_app.py").write_text(PRELUDE + textwrap.dedent(body))
            (app_dir / "host.json").write_text(json.dumps(host_json))
        host = RunningHost(app_dir, connection, *options)
        started.append(host)
        return host

    yield start
    for host in started:
        if host.process.poll() is None:
            host.stop(signal.SIGKILL)


@pytest.fixture
def own_azurite(tmp_path: Path) -> Iterator[RunningAzurite]:
    """An Azurite that a test may restart or fill with names of its liking."""
    with running_azurite(tmp_path / "azurite") as account:
        yield account


class Account:
    """A storage account as a test sees it; queue messages in base64."""

    def __init__(self, connection: str) -> None:
        self.queues = QueueServiceClient.from_connection_string(connection)
        self.blobs = BlobServiceClient.from_connection_string(connection)

    def send(self, queue: str, *bodies: str) -> None:
        client = self.queues.get_queue_client(queue)
        if queue not in {each.name for each in self.queues.list_queues(name_starts_with=queue)}:
            client.create_queue()
        for body in bodies:
            client.send_message(base64.b64encode(body.encode()).decode())

    def peek(self, queue: str) -> list[str]:
        if queue not in {each.name for each in self.queues.list_queues(name_starts_with=queue)}:
            return []
        return [str(message.content) for message in self.queues.get_queue_client(queue).peek_messages(32)]

    def count(self, queue: str) -> int:
        """All messages, the locked ones included."""
        count: int = self.queues.get_queue_client(queue).get_queue_properties().approximate_message_count or 0
        return count

    def close(self) -> None:
        self.queues.close()
        self.blobs.close()


def eventually(condition: Callable[[], bool], timeout_s: float = 15, what: str = "it") -> None:
    """Return once the condition holds; fail after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.05)


def decoded(messages: list[str]) -> list[str]:
    """The bodies of base64 messages."""
    return [base64.b64decode(message).decode() for message in messages]
