"""Recommendations through the real functions host, on real storage and a real hub."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.azure.blobs import AzureBlobs
from infra.local.azurite import RunningAzurite
from infra.local.eventhubs.testing import RunningHub, running_hub
from models.contracts.recommendations import Recommendations
from models.registry import Registry
from tests.unit.recommending import items_of, publish, small_bundle, small_recommender

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


class App:
    """The function app in a host process; `start` again after `kill`, on the same data."""

    def __init__(self, folder: Path, azurite: RunningAzurite, hub: RunningHub, model: str) -> None:
        self.folder = folder
        self.blobs = AzureBlobs(azurite.connection_string)
        self.registry = Registry(self.blobs, model)
        self._environment = {
            **os.environ,
            "AzureWebJobsStorage": azurite.connection_string,
            "DataStorage": azurite.connection_string,
            "PENSTOCK_STATE_PATH": str(folder / "state.sqlite"),
            "PENSTOCK_AMQP_CONNECTION": hub.connection_string,
            "PENSTOCK_RECOMMENDER": model,
            "PENSTOCK_MODEL_REFRESH_S": "0.2",
        }

    def start(self) -> None:
        command = [sys.executable, "-m", "infra.local.functions_host", "--app", str(ROOT), "--port", "0"]
        with (self.folder / "host.log").open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--host-id", self.registry.model, "--data-dir", str(self.folder / "host")],
                env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        keys = json.loads((self.folder / "host" / "keys.json").read_text())
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{ready['port']}/api/",
            headers={"x-functions-key": keys["functionKeys"]["default"]},
            timeout=30,
        )

    def end(self, number: int = signal.SIGKILL) -> None:
        self.client.close()
        self.process.send_signal(number)
        self.process.wait(15)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def recommend(self, path: str, /, **query: object) -> dict[str, Any]:
        response = self.client.get(f"users/{path}/recommendations", params=query)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body


@pytest.fixture
def app(tmp_path: Path, azurite: RunningAzurite) -> Iterator[App]:
    with running_hub(tmp_path / "hub", {"ratings": 2}) as hub:
        made = App(tmp_path, azurite, hub, f"recommender-{tmp_path.name[:40].strip('-_.')}")
        publish(made.registry, small_bundle(), "v1")
        made.start()
        yield made
        made.end()
        made.blobs.close()


def test_feedback_is_in_the_next_answer_also_after_the_host_was_killed(app: App) -> None:
    assert app.recommend("ana%2F1%3F")["reason"] == "popular"
    rating = {"user": "ana/1?", "item": "2", "rating": 5, "key": "k1"}
    answer = app.client.post("ratings", json=rating)
    assert (answer.status_code, answer.json()["changed"]) == (200, True)
    after = app.recommend("ana%2F1%3F", k=5)
    assert after["reason"] == "fold-in"
    assert "2" not in items_of(after)
    app.end()
    app.start()
    assert app.recommend("-", user="ana/1?", k=5) == after
    assert app.client.post("ratings", json=rating).json()["changed"] is False
    assert app.client.delete("users/ana%2F1%3F").json()["ratings"] == 1
    assert app.recommend("ana%2F1%3F")["reason"] == "popular"


def test_bad_input_is_a_4xx_that_says_why_and_keys_are_asked_for(app: App) -> None:
    for method, path, body, status in (
        ("GET", "users/ana/recommendations?k=0", b"", 400),
        ("GET", "users/ana/recommendations?k=1000000", b"", 400),
        ("GET", "users/a%00b/recommendations", b"", 400),
        ("GET", "items/%27%3B%20DROP%20TABLE%20items/similar", b"", 404),
        ("POST", "ratings", b'{"user": "u", "item": "1", "rating": NaN, "key": "k"}', 400),
        ("POST", "ratings", b'{"user": "u"', 400),
        ("POST", "recommendations", b"x" * 2_000_000, 400),
        ("POST", "predictions", b'{"user": "u"}', 503),
    ):
        response = app.client.request(method, path, content=body)
        assert (response.status_code, bool(response.json()["error"])) == (status, True), path
    assert httpx.get(f"{app.client.base_url}users/ana/recommendations").status_code == 401


def test_under_load_a_swap_fails_no_request_and_each_answer_is_of_one_version(app: App) -> None:
    bundles = {version: small_bundle(seed=seed) for seed, version in enumerate(("v1", "v2"))}
    publish(app.registry, bundles["v2"], "v2", promote=False)
    expected = {}
    for seed, version in enumerate(bundles):
        model = small_recommender(version, seed=seed)
        places = model.places(["2", "3"])
        best = model.top(model.fold.user(places, places.astype("f4")), places, 10)
        expected[version] = [model.catalogue.items[place] for place in best.places]
    assert expected["v1"] != expected["v2"]
    request = {"ratings": [{"item": "2", "rating": 1}, {"item": "3", "rating": 2}]}
    answers: list[tuple[int, dict[str, Any]]] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=app.client.base_url, headers=app.client.headers, timeout=30) as client:
            while not stop.is_set():
                response = client.post("recommendations", json=request)
                answers.append((response.status_code, response.json()))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for version in ("v2", "v1", "v2"):
            app.registry.promote(version)
            deadline = time.monotonic() + 20
            while not answers or answers[-1][1].get("model_version") != version:
                assert time.monotonic() < deadline, answers[-1:]
                time.sleep(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}
    assert {body["model_version"] for _, body in answers} == {"v1", "v2"}
    for _, body in answers:
        assert items_of(body) == expected[body["model_version"]]


def test_the_command_prints_the_body_of_the_answer(app: App, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import msgspec

    from infra.cli import recommend as commands
    from models.errors import NotFound

    class Home:
        root = functions = app.folder / "host"

        def running(self) -> Any:
            return msgspec.defstruct("State", [("host", str), ("ports", dict)])(
                "127.0.0.1", {"functions": app.client.base_url.port}
            )

    monkeypatch.setattr(commands.Home, "default", lambda: Home())
    app.client.post("ratings", json={"user": "a/b", "item": "2", "rating": 5, "key": "k1"})
    commands.recommend("a/b", k=3, explain=True, as_json=True)
    body = msgspec.json.decode(capsys.readouterr().out, type=Recommendations)
    assert (len(body.items), body.reason) == (3, "fold-in")
    assert all(item.because for item in body.items)
    commands.similar("2", k=3)
    assert "Title" in capsys.readouterr().out
    commands.variants(as_json=True)
    assert json.loads(capsys.readouterr().out)["variants"][0]["answers"] == {"fold-in": 1, "similar": 1}
    with pytest.raises(NotFound, match="knows no item"):
        commands.similar("none such")
