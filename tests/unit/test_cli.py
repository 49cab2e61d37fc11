"""What commands print and how they exit, without a running Penstock."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from rich.text import Text
from typer.main import get_command
from typer.testing import CliRunner

from infra.cli import context, main
from infra.cli.following import await_followed
from infra.cli.showcase import found_faults
from infra.cli.status import headline
from infra.feed.export import export_predictions
from infra.local.home import Home, PartState, RuntimeState
from infra.simulation import Fault, FaultKind
from models.contracts import Alert, AlertStatus
from models.errors import ConfigurationError
from tests.unit.test_replay_accounting import Store


def penstock(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "DataStorage"}
    return subprocess.run(
        [sys.executable, "-m", "infra.cli.main", *arguments],
        env={**clean, "PENSTOCK_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_is_quick_and_loads_no_heavy_library() -> None:
    script = (
        "import sys, infra.cli.main\n"
        "heavy = {'numpy', 'pyarrow', 'sklearn', 'aiokafka', 'azure.storage', 'pydantic', 'onnxruntime', 'faust'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.monotonic() - begun < 5  # well under 1 s on an idle machine


def test_help_is_shown_as_it_is_written() -> None:
    texts = list(_helps(get_command(main.app)))
    assert len(texts) > 300
    # Brackets would be taken for a style, and vanish.
    assert [text for text in texts if Text.from_markup(text).plain != text] == []


def _helps(command: Any) -> Iterator[str]:
    """What is said of a command, its parameters and the commands below it."""
    for each in (command, *command.params):
        yield getattr(each, "help", None) or ""
    for below in getattr(command, "commands", {}).values():
        yield from _helps(below)


def test_commands_that_need_a_runtime_say_how_to_start_it(tmp_path: Path) -> None:
    done = penstock(tmp_path, "alerts", "list", "--json")
    assert done.returncode == 1
    assert "penstock up --detach" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_of_nothing_exits_3_and_prints_json(tmp_path: Path) -> None:
    done = penstock(tmp_path, "status", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["state"] == "stopped"


def test_wrong_usage_exits_2(tmp_path: Path) -> None:
    assert penstock(tmp_path, "up", "--host", "nobody").returncode == 2
    assert penstock(tmp_path, "telemetry", "replay", str(tmp_path / "none.csv")).returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "--seconds", "inf"],
        ["simulate", "--history", "inf"],
        ["simulate", "--rate", "nan"],
        ["replay", __file__, "--speed", "inf"],
    ],
)
def test_numbers_without_end_are_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(main.app, ["telemetry", *arguments]).exit_code == 2


def test_down_without_a_runtime_says_so_and_succeeds(tmp_path: Path) -> None:
    done = penstock(tmp_path, "down", "--wipe", "--json")
    assert (done.returncode, json.loads(done.stdout)["was_running"]) == (0, False)


def test_logs_name_the_parts_that_have_one(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "hub.log").write_text("one\ntwo\n")
    assert penstock(tmp_path, "logs", "hub", "-n", "1").stdout == "two\n"
    assert json.loads(penstock(tmp_path, "logs", "--json").stdout) == {"hub": ["one", "two"]}
    wrong = penstock(tmp_path, "logs", "hup")
    assert wrong.returncode == 1
    assert "there are: hub" in wrong.stderr


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    monkeypatch.delenv("DataStorage", raising=False)
    home = Home.default()
    shared = {"DataStorage": "of the runtime", "PENSTOCK_HUB": "other", "PENSTOCK_STREAM_WEB_PORT": "1234"}
    home.write_state(
        RuntimeState(state="ready", supervisor=1, started=0, host="embedded", ports={}, environment=shared, parts=[])
    )
    return home


def test_settings_come_from_the_running_runtime_and_the_environment_wins(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.lock():
        settings = context.load_settings()
        assert settings.data_storage.get_secret_value() == "of the runtime"
        assert (settings.hub, settings.stream_web_port) == ("other", 1234)
        monkeypatch.setenv("PENSTOCK_HUB", "mine")
        assert context.load_settings().hub == "mine"
        assert context.settings_of(home).hub == "other"


def test_settings_of_a_stopped_runtime_are_refused_unless_the_environment_names_the_storage(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="start it"):
        context.load_settings()
    monkeypatch.setenv("DataStorage", "of Azure")
    assert context.load_settings().data_storage.get_secret_value() == "of Azure"


def test_a_wrong_setting_is_one_sentence(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_ALLOWED_LATENESS_S", "many")
    with home.lock(), pytest.raises(ConfigurationError, match="allowed_lateness_s"):
        context.load_settings()


@pytest.fixture
def reachable(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Settings that are well formed; nothing answers there."""
    monkeypatch.setenv("DataStorage", "UseDevelopmentStorage=true")
    monkeypatch.setenv("PENSTOCK_STATE_PATH", str(home.data / "state.sqlite"))
    return home


@pytest.mark.parametrize("option", [["--out", "{}"], ["--out={}"]])
@pytest.mark.parametrize(("below", "reason"), [("", "Is a directory"), ("no/x.csv", "No such file or directory")])
def test_a_path_that_cannot_be_written_is_one_sentence(
    reachable: Home,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: list[str],
    below: str,
    reason: str,
) -> None:
    out = reachable.root / below
    monkeypatch.setattr(sys, "argv", ["penstock", "telemetry", "predictions", *(text.format(out) for text in option)])
    with pytest.raises(SystemExit) as exit:
        main.main()
    assert exit.value.code == 1
    assert capsys.readouterr().err == f"penstock: {out}: {reason}\n"


def test_a_data_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = penstock(tmp_path / "file", "status")
    assert done.returncode == 1
    assert done.stderr == f"penstock: {tmp_path / 'file' / 'run' / 'lock'}: Not a directory\n"


def test_a_full_disk_is_one_sentence_and_other_errors_of_the_system_stay_bugs(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail_with(error: OSError) -> None:
        def app() -> None:
            raise error

        monkeypatch.setattr(main, "app", app)
        main.main()

    monkeypatch.setattr(sys, "argv", ["penstock", "status", "--out", "given.csv"])
    with pytest.raises(SystemExit):
        fail_with(OSError(errno.ENOSPC, "No space left on device"))
    assert capsys.readouterr().err == "penstock: cannot write: No space left on device\n"
    with pytest.raises(FileNotFoundError):
        fail_with(FileNotFoundError(errno.ENOENT, "No such file or directory", "/nobody/named/this"))
    with pytest.raises(ConnectionRefusedError):
        fail_with(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))


@pytest.mark.parametrize(
    ("phase", "stream", "said"),
    [
        ("ready", "ready", "Penstock is ready"),
        ("ready", "backing-off", "Penstock is up, but stream is restarting"),
        ("ready", "starting", "Penstock is up, but stream is restarting"),
        ("ready", "degraded", "Penstock is up, but stream is degraded"),
        ("starting", "starting", "Penstock is starting"),
        ("stopping", "stopped", "Penstock is stopping"),
    ],
)
def test_the_headline_of_status_names_parts_that_are_not_ready(phase: str, stream: str, said: str) -> None:
    parts = [
        PartState(name=name, state=state, pid=1, restarts=0, ports={}, started=0)
        for name, state in (("hub", "ready"), ("stream", stream))
    ]
    state = RuntimeState(state=phase, supervisor=1, started=0, host="embedded", ports={}, environment={}, parts=parts)
    assert headline(state) == said


class Functions(BaseHTTPRequestHandler):
    """Answers the health question with one of `models` after the other; None: 503."""

    models: ClassVar[list[str | None]]

    def do_GET(self) -> None:
        model = self.models.pop(0)
        self.send_response(503 if model is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"model": model}).encode())

    def log_message(self, *args: object) -> None:
        """Nothing."""


def test_what_makes_a_version_live_returns_when_the_functions_score_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    Functions.models = ["old", None, "new", "never asked"]
    await_followed("new", refresh_s=1)  # nothing runs: nothing waits
    with HTTPServer(("127.0.0.1", 0), Functions) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        Home(tmp_path).write_state(
            RuntimeState(
                state="ready",
                supervisor=1,
                started=0,
                host="embedded",
                ports={"functions": server.server_port},
                environment={},
                parts=[],
            )
        )
        with Home(tmp_path).lock():
            await_followed("new", refresh_s=60)
        server.shutdown()
    assert Functions.models == ["never asked"]
    assert capsys.readouterr().err == ""


def test_predictions_are_one_csv_row_per_window_in_order_of_series_and_start() -> None:
    store = Store()
    store.predictions(0, [("d1", 60_000_000, 3, 0, 5), ("d0", 0, 2, 0, 5)])
    store.predictions(1, [("d0", 60_000_000, 4, 0, 6)])
    out = io.StringIO()
    assert export_predictions(store.results, out) == 3
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("device,sensor,start,count,mean,")
    assert [line.split(",")[:4] for line in lines[1:]] == [
        ["d0", "s", "1970-01-01T00:00:00+00:00", "2"],
        ["d0", "s", "1970-01-01T00:01:00+00:00", "4"],
        ["d1", "s", "1970-01-01T00:01:00+00:00", "3"],
    ]
    assert export_predictions(store.results, io.StringIO(), device="d0", since_us=1) == 1


def test_a_fault_is_found_by_an_alert_of_its_series_that_overlaps_it() -> None:
    fault = Fault(kind=FaultKind.SPIKE, device="d", sensor="s", start_us=100, end_us=200)

    def alert(start_us: int, sensor: str = "s") -> Alert:
        return Alert(
            hub="h",
            spec="x",
            partition=0,
            device="d",
            sensor=sensor,
            start_us=start_us,
            last_us=start_us,
            windows=1,
            peak_score=2,
            threshold=1,
            model_version="v",
            status=AlertStatus.RAISED,
            raised_at=0,
            updated_at=0,
        )

    assert found_faults([fault], [alert(50)], window_us=60) == [fault]
    assert found_faults([fault], [alert(199)], window_us=60) == [fault]
    assert found_faults([fault], [alert(30), alert(200), alert(150, sensor="t")], window_us=60) == []
