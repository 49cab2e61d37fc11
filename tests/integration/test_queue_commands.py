"""`penstock queues` on a real storage queue."""

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from infra.azure.queues import AzureQueue
from infra.cli.main import app
from infra.local.azurite import RunningAzurite
from models.names import TRAIN_QUEUE

pytestmark = pytest.mark.integration


def test_what_was_given_up_on_is_shown_and_sent_again(
    azurite: RunningAzurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DataStorage", azurite.connection_string)
    poison, queue = (AzureQueue(azurite.connection_string, TRAIN_QUEUE + suffix) for suffix in ("-poison", ""))
    for body in (b'{"n": 1}', b"\xff[red]"):
        poison.send(body)
    runner = CliRunner()

    def run(*arguments: str) -> object:
        result = runner.invoke(app, ["queues", *arguments, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    assert run("poison", TRAIN_QUEUE) == ['{"n": 1}', "\\xff[red]"]
    before = queue.length()
    assert run("replay", TRAIN_QUEUE) == {"queue": TRAIN_QUEUE, "sent": 2}
    assert run("poison", TRAIN_QUEUE) == []
    assert queue.length() == before + 2
    listed = {each["queue"]: each["poison"] for each in run("list")}  # type: ignore[attr-defined]
    assert listed[TRAIN_QUEUE] == 0
    while (item := queue.receive(timedelta(seconds=5))) is not None:
        queue.delete(item)
