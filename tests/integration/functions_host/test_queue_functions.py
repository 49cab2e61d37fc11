"""Queue functions on a real Azurite: delivery, retries, poison, kills, restarts, drain."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.azurite import RunningAzurite
from tests.integration.functions_host.conftest import Account, StartHost, decoded, eventually

pytestmark = pytest.mark.integration

TRIGGER = '@app.queue_trigger(arg_name="m", queue_name="{queue}", connection="AzureWebJobsStorage")\n'


@pytest.fixture
def queue() -> str:
    """A queue of the test's own, so that tests share one Azurite."""
    return f"q{uuid.uuid4().hex[:12]}"


@pytest.fixture
def account(azurite: RunningAzurite) -> Iterator[Account]:
    client = Account(azurite.connection_string)
    yield client
    client.close()


def test_messages_run_and_their_outputs_are_sent(
    azurite: RunningAzurite, account: Account, start_host: StartHost, queue: str
) -> None:
    host = start_host(
        azurite.connection_string,
        TRIGGER.format(queue=queue)
        + f'@app.queue_output(arg_name="o", queue_name="{queue}-out", connection="AzureWebJobsStorage")\n'
        '@app.blob_output(arg_name="b", path="outputs/{kind}/{id}.txt", connection="AzureWebJobsStorage")\n'
        "def work(m: func.QueueMessage, o: func.Out[typing.List[str]], b: func.Out[str]) -> None:\n"
        "    o.set([m.get_json()['kind'], 'end'])\n"
        "    b.set(f'{m.id} {m.dequeue_count} {m.expiration_time.tzinfo}')\n",
    )
    account.send(queue, '{"kind": "grün"}')
    eventually(lambda: len(account.peek(f"{queue}-out")) == 2, what="the output")
    assert sorted(decoded(account.peek(f"{queue}-out"))) == ["end", "grün"]
    eventually(lambda: account.count(queue) == 0)
    container = account.blobs.get_container_client("outputs")
    (blob,) = container.list_blobs(name_starts_with="grün/")
    text = container.download_blob(blob.name).readall().decode()
    assert text == f"{blob.name.removeprefix('grün/').removesuffix('.txt')} 1 UTC"
    assert host.stop() == 0


def test_a_message_that_fails_five_times_is_set_aside_for_ever_as_it_was(
    azurite: RunningAzurite, account: Account, start_host: StartHost, queue: str
) -> None:
    host = start_host(
        azurite.connection_string,
        TRIGGER.format(queue=queue) + "def work(m: func.QueueMessage) -> None:\n"
        "    note(f'{m.get_body().decode()} {m.dequeue_count}')\n"
        "    if m.get_body() == b'bad': raise ValueError('no')\n",
    )
    account.send(queue, "bad", "good")
    account.queues.get_queue_client(queue).send_message("%%% no base64")
    eventually(lambda: len(account.peek(f"{queue}-poison")) == 2, what="poison")
    assert sorted(account.peek(f"{queue}-poison")) == ["%%% no base64", "YmFk"]
    (message, *_) = account.queues.get_queue_client(f"{queue}-poison").peek_messages()
    assert message.expires_on is not None
    assert message.expires_on.year > 2100
    eventually(lambda: account.count(queue) == 0)
    assert sorted(host.notes()) == ["bad 1", "bad 2", "bad 3", "bad 4", "bad 5", "good 1"]
    assert "cannot be decoded" in host.log()


def test_a_failed_message_comes_again_after_its_visibility_timeout_and_raw_messages_can_be_read(
    azurite: RunningAzurite, account: Account, start_host: StartHost, queue: str
) -> None:
    host = start_host(
        azurite.connection_string,
        TRIGGER.format(queue=queue)
        + "def work(m: str) -> None:\n    note(f'{m} {time.monotonic()}')\n    raise ValueError('no')\n",
        {
            "version": "2.0",
            "extensions": {
                "queues": {
                    "maxPollingInterval": "00:00:00.1",
                    "visibilityTimeout": "00:00:01",
                    "maxDequeueCount": 2,
                    "messageEncoding": "none",
                }
            },
        },
    )
    account.queues.create_queue(queue).send_message("plain")
    eventually(lambda: len(host.notes()) == 2)
    first, second = (note.split() for note in host.notes())
    assert first[0] == "plain"
    # The service counts whole seconds, so a little less may pass here.
    assert 0.5 < float(second[1]) - float(first[1]) < 3
    eventually(lambda: account.peek(f"{queue}-poison") == ["plain"])


def test_a_message_of_a_killed_host_runs_again_after_its_lock(
    azurite: RunningAzurite, account: Account, start_host: StartHost, queue: str
) -> None:
    body = TRIGGER.format(queue=queue) + (
        "def work(m: func.QueueMessage) -> None:\n"
        "    note(f'begin {m.dequeue_count}')\n"
        "    if m.dequeue_count == 1: time.sleep(60)\n"
        "    note(f'end {m.dequeue_count}')\n"
    )
    first = start_host(azurite.connection_string, body)
    account.send(queue, "work")
    eventually(lambda: first.notes() == ["begin 1"])
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    second = start_host(azurite.connection_string)
    eventually(lambda: second.notes() == ["begin 1", "begin 2", "end 2"])
    eventually(lambda: account.count(queue) == 0)


def test_no_message_is_lost_when_hosts_are_killed_frozen_and_cut_off(
    own_azurite: RunningAzurite, start_host: StartHost
) -> None:
    count = 150
    account = Account(own_azurite.connection_string)
    account.send("inbox", *(str(number) for number in range(count)))
    host = start_host(
        own_azurite.connection_string,
        TRIGGER.format(queue="inbox") + "def work(m: str) -> None:\n    time.sleep(0.05)\n    note(m)\n",
        {
            "version": "2.0",
            "extensions": {"queues": {"maxPollingInterval": "00:00:00.2", "maxDequeueCount": 50}},
        },
    )
    eventually(lambda: len(host.notes()) > 10)
    host.stop(signal.SIGKILL)
    host = start_host(own_azurite.connection_string)
    eventually(lambda: len(host.notes()) > 40)
    # Longer than the lock: what it held is seen again while it sleeps.
    host.process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    host.process.send_signal(signal.SIGCONT)
    eventually(lambda: len(host.notes()) > 70)
    own_azurite.restart()
    eventually(lambda: account.count("inbox") == 0, what="an empty queue")
    assert {int(note) for note in host.notes()} == set(range(count))
    assert account.peek("inbox-poison") == []
    account.close()


def test_a_run_longer_than_the_lock_keeps_its_message(
    azurite: RunningAzurite, account: Account, start_host: StartHost, queue: str
) -> None:
    host = start_host(
        azurite.connection_string,
        TRIGGER.format(queue=queue)
        + "async def work(m: str) -> None:\n    note('begin')\n    await asyncio.sleep(4.5)\n    note('end')\n",
    )
    account.send(queue, "long")
    eventually(lambda: account.count(queue) == 0)
    assert host.notes() == ["begin", "end"]


def test_no_more_than_batch_size_and_threshold_run_at_once(
    azurite: RunningAzurite, account: Account, start_host: StartHost, queue: str
) -> None:
    host = start_host(
        azurite.connection_string,
        "running = 0\n" + TRIGGER.format(queue=queue) + "async def work(m: str) -> None:\n"
        "    global running\n"
        "    running += 1\n"
        "    note(str(running))\n"
        "    await asyncio.sleep(0.05)\n"
        "    running -= 1\n",
        {
            "version": "2.0",
            "extensions": {"queues": {"batchSize": 2, "newBatchThreshold": 1, "maxPollingInterval": "00:00:00.1"}},
        },
    )
    account.send(queue, *(str(number) for number in range(12)))
    eventually(lambda: len(host.notes()) == 12)
    assert max(int(note) for note in host.notes()) in (2, 3)


def test_sigterm_lets_a_short_run_end_and_takes_no_more(
    azurite: RunningAzurite, account: Account, start_host: StartHost, queue: str
) -> None:
    host = start_host(
        azurite.connection_string,
        TRIGGER.format(queue=queue)
        + "def work(m: str) -> None:\n    note(f'begin {m}')\n    time.sleep(1.5)\n    note(f'end {m}')\n",
        {"version": "2.0", "extensions": {"queues": {"batchSize": 1, "newBatchThreshold": 0}}},
    )
    account.send(queue, "one", "two")
    eventually(lambda: len(host.notes()) == 1)
    assert host.stop() == 0
    assert len(host.notes()) == 2
    assert account.count(queue) == 1


def test_sigterm_gives_a_long_run_back_at_once_and_ends_after_the_drain_time(
    azurite: RunningAzurite, account: Account, start_host: StartHost, queue: str
) -> None:
    host = start_host(
        azurite.connection_string,
        TRIGGER.format(queue=queue) + "def work(m: str) -> None:\n    note('begin')\n    time.sleep(60)\n",
        options=("--drain-s", "2"),
    )
    account.send(queue, "work")
    eventually(lambda: host.notes() == ["begin"])
    started = time.monotonic()
    assert host.stop() == 0
    assert 2 < time.monotonic() - started < 30, "neither at once nor at the end of the run"
    # Long before the lock's end; the account shows it again with the next tick of its clock.
    eventually(lambda: len(account.peek(queue)) == 1)


def test_a_run_beyond_function_timeout_ends_the_process_with_its_own_code(
    azurite: RunningAzurite, account: Account, start_host: StartHost, queue: str
) -> None:
    host = start_host(
        azurite.connection_string,
        TRIGGER.format(queue=queue) + "def work(m: str) -> None:\n    time.sleep(60)\n",
        {"version": "2.0", "functionTimeout": "00:00:01", "extensions": {"queues": {"batchSize": 1}}},
    )
    account.send(queue, "work")
    assert host.wait() == 4
    assert "work outlived functionTimeout" in host.log()


def test_the_host_outlives_its_storage_account(tmp_path: Path, start_host: StartHost) -> None:
    azurite = RunningAzurite(tmp_path / "azurite")
    host = start_host(
        azurite.connection_string, TRIGGER.format(queue="inbox") + "def work(m: str) -> None: note(m)\n"
    )
    assert host.ready["functions"] == ["work"]
    account = Account(azurite.connection_string)
    try:
        azurite.start()
        account.send("inbox", "after a late start")
        eventually(lambda: "after a late start" in host.notes(), 5, "the first message")
        azurite.restart()
        account.send("inbox", "after a restart")
        # Not "exactly two notes": a run whose message could not be deleted in time is run again.
        eventually(lambda: "after a restart" in host.notes(), 5, "the message after the restart")
        # The queue itself was saved by the restart, so the kill cannot take it away.
        azurite.kill()
        time.sleep(1)
        azurite.start()
        account.send("inbox", "after a kill")
        eventually(lambda: "after a kill" in host.notes(), 5, "the message after the kill")
        outages = [line for line in host.log().splitlines() if "does not answer" in line]
        assert 2 <= len(outages) <= 3, outages
        assert host.stop() == 0
    finally:
        account.close()
        azurite.stop()
