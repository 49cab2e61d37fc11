"""Ratings become a live recommender, answers, and lists for many users; parts are killed and files are wrong."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Penstock, free_base
from tests.unit import tastes
from tests.waiting import wait_for

# Many processes: a busy machine takes several times as long as an idle one.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

RATINGS = tastes.ratings(users=200, items=80, each=20)
# The tests build on one another: the first one trains the version that the others ask.
_ENVIRONMENT = {"PENSTOCK_TRAIN_LOCK_S": "4", "PENSTOCK_RETRAIN_MIN_FEEDBACK": "1", "PENSTOCK_GATE_TOLERANCE": "0.05"}


@pytest.fixture(scope="module")
def penstock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Penstock]:
    made = Penstock(tmp_path_factory.mktemp("recommending") / "home", free_base(), _ENVIRONMENT)
    try:
        made.run("up", "--detach")
        made.json("runs", "train", _file(made.home.parent / "ratings.csv", tastes.csv(RATINGS)), "--wait")
        yield made
    finally:
        made.end()


def _file(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def call(penstock: Penstock, path: str, body: Any = None, *, key: str = "functionKeys") -> Any:
    """The JSON of a route below the host's root; POST if there is a body."""
    keys = json.loads((penstock.home / "data" / "functions" / "keys.json").read_bytes())
    found = keys[key]["default"] if key == "functionKeys" else keys[key]
    request = urllib.request.Request(  # loopback
        f"http://127.0.0.1:{penstock.port_base}/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"x-functions-key": found, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def rated_by(user: str) -> set[str]:
    rows = RATINGS.user == RATINGS.users.index(user)
    return {RATINGS.items[place] for place in RATINGS.item[rows]}


def items_for(penstock: Penstock, user: str, k: int = 10) -> dict[str, Any]:
    answer: dict[str, Any] = call(penstock, f"api/users/{user}/recommendations?k={k}")
    answer["ids"] = [item["item"] for item in answer["items"]]
    return answer


def test_an_upload_is_promoted_answers_reflect_feedback_and_a_restart_forgets_nothing(penstock: Penstock) -> None:
    (run,) = call(penstock, "api/runs?kind=train")["runs"]
    assert [each["stage"] for each in run["stages"]] == [
        "received", "validated", "training", "evaluated", "registered", "written", "promoted",
    ]  # fmt: skip
    assert call(penstock, f"api/runs/{run['id']}") == run
    assert "promoted" in penstock.run("runs", "show", run["id"], "--log")

    listed = penstock.json("models", "list", "--model", "recommender")
    assert listed["live"] == run["model_version"]
    assert penstock.json("models", "promote", listed["live"], "--model", "recommender")["live"] == listed["live"]

    before = wait_for(lambda: _live(penstock) == run["model_version"] and items_for(penstock, "1"))
    assert before["model_version"] == run["model_version"]
    assert before["reason"] == "personal"
    assert not set(before["ids"]) & rated_by("1")
    # User "1" likes odd items, as those of even number do.
    assert sum(int(item) % 2 for item in before["ids"]) >= 8

    first = before["ids"][0]
    call(penstock, "api/ratings", {"user": "1", "item": first, "rating": 5.0, "key": "k1"})
    after = items_for(penstock, "1")
    assert first not in after["ids"]
    assert after["reason"] == "fold-in"

    penstock.kill("functions")
    penstock.until_ready()
    assert items_for(penstock, "1") == after


def _live(penstock: Penstock) -> str | None:
    """The version that answers; None as long as the host has not seen one."""
    try:
        version: str = items_for(penstock, "1")["model_version"]
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return None
        raise
    return version


def test_a_file_that_is_not_ratings_leads_to_a_failed_run_and_the_live_version_stays(penstock: Penstock) -> None:
    live = items_for(penstock, "2")
    wrong = _file(penstock.home.parent / "notes.csv", b"device,sensor,value\na,b,1\n")
    penstock.run("runs", "train", wrong, "--wait", code=1)
    run = penstock.json("runs", "show")
    assert run["source"] == "ratings-in/notes.csv"
    assert run["stages"][-1]["stage"] == "failed"
    assert "'user'" in run["stages"][-1]["detail"]
    assert f"penstock runs retry {run['id']}" in run["upload"]
    penstock.run("runs", "retry", run["id"], "--wait", code=1)  # it is as wrong as before
    again = penstock.json("runs", "show")
    assert (again["retries"], again["stages"][-1]["stage"]) == ([run["id"]], "failed")
    assert items_for(penstock, "2") == live


def test_feedback_is_trained_on_by_the_schedule(penstock: Penstock) -> None:
    call(penstock, "api/ratings", {"user": "3", "item": "a new item", "rating": 5.0, "key": "k2"})

    def started() -> Any:
        call(penstock, "admin/functions/retrain", {"input": ""}, key="masterKey")
        return [
            run for run in call(penstock, "api/runs?kind=train")["runs"] if not (run["source"] or run.get("retries"))
        ]

    id = wait_for(started)[-1]["id"]
    run = wait_for(lambda: (found := call(penstock, f"api/runs/{id}"))["stages"][-1]["stage"] in _ENDS and found)
    assert run["feedback"]
    training = next(each["detail"] for each in run["stages"] if each["stage"] == "training")
    assert f"of {len(RATINGS)} ratings" not in training
    assert run["stages"][-1]["stage"] == "promoted", run


_ENDS = {"promoted", "refused", "failed", "done"}


def test_a_trainer_that_is_killed_in_the_middle_of_a_job_is_promoted_all_the_same(penstock: Penstock) -> None:
    penstock.until_ready()
    penstock.run("runs", "train", _file(penstock.home.parent / "again.csv", tastes.csv(RATINGS)))
    trainer = penstock.pids()["trainer"]
    wait_for(lambda: Path(f"/proc/{trainer}/task").exists() and _children(trainer))
    penstock.kill("trainer")
    run = penstock.json("runs", "show")
    assert run["stages"][-1]["stage"] not in _ENDS
    id = run["id"]
    run = wait_for(lambda: (found := call(penstock, f"api/runs/{id}"))["stages"][-1]["stage"] in _ENDS and found)
    assert run["stages"][-1]["stage"] == "promoted", run


def _children(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return any(thread.read_text().strip() for thread in threads)


def test_a_list_of_users_becomes_a_list_of_recommendations(penstock: Penstock) -> None:
    users = [*RATINGS.users, "nobody", "\x01"]
    lines = b"".join(json.dumps({"user": user, "k": 3}).encode() + b"\n" for user in users)
    out = penstock.home.parent / "out.jsonl"
    run = penstock.json("runs", "score", _file(penstock.home.parent / "users.jsonl", lines), "--out", str(out))
    assert run["stages"][-1]["detail"] == f"{len(users)} users, 1 without an answer"
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [each["user"] for each in found[:-1]] == users[:-1]
    for each in found[:-2]:
        assert len(each["items"]) == 3
        assert not {item["item"] for item in each["items"]} & rated_by(each["user"])
    assert found[-2]["reason"] == "popular"
    assert "error" in found[-1]
