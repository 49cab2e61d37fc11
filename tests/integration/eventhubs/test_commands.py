from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.eventhubs.testing import HubDied, RunningHub, running_hub

from .clients import Event, produce_confluent, read_confluent

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[3]


def ask(hub: RunningHub, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.local.eventhubs", *command, "--bootstrap", hub.bootstrap],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def rows(answer: subprocess.CompletedProcess[str]) -> list[list[str]]:
    assert (answer.returncode, answer.stderr) == (0, "")
    return [line.split() for line in answer.stdout.splitlines()[1:]]


async def test_events_are_sent_seen_and_read_again_from_the_command_line(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data", {"lines": 1}) as hub:
        assert ask(hub, "produce", "lines", "--key", "k", stdin="one\ntwo\n").returncode == 0
        await produce_confluent(hub.bootstrap, "lines", [Event(None, b"\xff", (("n", b"1"),))], None)
        assert rows(ask(hub, "hubs")) == [["lines", "0", "0", "3", "3"]]
        seen = [
            json.loads(line)
            for line in ask(hub, "tail", "lines", "--from", "earliest", "--until-end").stdout.splitlines()
        ]
        assert [(each["offset"], each["key"], each["value"]) for each in seen] == [
            (0, "k", "one"),
            (1, "k", "two"),
            (2, None, "\\xff"),
        ]
        assert seen[2]["headers"] == {"n": "1"}
        assert rows(ask(hub, "reset-offsets", "readers", "lines", "--to", "1")) == [["readers", "lines", "0", "1"]]
        assert rows(ask(hub, "lag")) == [["readers", "lines", "0", "1", "2"]]
        assert rows(ask(hub, "groups")) == [["readers", "Empty", "0"]]
        assert rows(ask(hub, "reset-offsets", "readers", "lines", "--to", seen[2]["time"]))[0][3] in "012"
        refused = ask(hub, "tail", "nowhere")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "there is no hub 'nowhere'" in refused.stderr


async def test_a_hub_that_refuses_to_start_says_what_to_do_and_then_starts(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data", {"lines": 1}) as hub:
        for number in range(3):
            await produce_confluent(hub.bootstrap, "lines", [Event(None, b"%d" % number)], None)
        hub.kill()
        [segment] = (tmp_path / "data").glob("topics/lines.*/0/*.log")
        whole = segment.read_bytes()
        segment.write_bytes(whole[: len(whole) // 2] + b"\xff" + whole[len(whole) // 2 + 1 :])
        with pytest.raises(HubDied) as refused:
            hub.start()
        advice = str(refused.value).strip().splitlines()[-1].partition("python ")[2]
        done = subprocess.run([sys.executable, *advice.split()], cwd=ROOT, capture_output=True, text=True, check=True)
        assert "goes on at offset 1" in done.stdout
        hub.start()
        await produce_confluent(hub.bootstrap, "lines", [Event(None, b"again")], None)
        seen = await read_confluent(hub.bootstrap, "lines", 1, 2)
        assert [each.event.value for each in seen] == [b"0", b"again"]
