"""`penstock recommend` and its like against a server on loopback that stands where the functions host would."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli import main
from infra.local.home import Home, RuntimeState

ANSWER = {
    "items": [{"item": "181", "score": 0.93, "title": "Return of the Jedi (1983)"}],
    "model_version": "v1",
    "variant": "default",
    "reason": "fold-in",
    "page": 1,
}


class Functions(BaseHTTPRequestHandler):
    """Answers everything with ANSWER, and notes what it was asked, with which key."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["x-functions-key"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(ANSWER).encode())

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output is no access log."""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str | None]]]:
    """What the functions of a running Penstock were asked."""
    Functions.asked = []
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    home = Home.default()
    home.functions.mkdir(parents=True)
    (home.functions / "keys.json").write_text('{"functionKeys": {"default": "secret"}}')
    server = ThreadingHTTPServer(("127.0.0.1", 0), Functions)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with home.lock():
            home.write_state(
                RuntimeState(
                    state="ready",
                    supervisor=1,
                    started=0,
                    host="embedded",  # as the supervisor writes it: which host, not where
                    ports={"functions": server.server_port},
                    environment={},
                    parts=[],
                )
            )
            yield Functions.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_recommend_asks_the_running_functions_with_their_key(asked: list[tuple[str, str | None]]) -> None:
    done = CliRunner().invoke(main.app, ["recommend", "17", "--k", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == ANSWER
    assert asked == [("/api/users/17/recommendations?k=1&page=1", "secret")]


def test_an_id_with_a_slash_goes_in_the_query(asked: list[tuple[str, str | None]]) -> None:
    done = CliRunner().invoke(main.app, ["similar", "a/b", "--json"])
    assert done.exit_code == 0, done.output
    assert asked == [("/api/items/-/similar?k=10&item=a%2Fb", "secret")]
