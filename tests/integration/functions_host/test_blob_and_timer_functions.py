"""Blob and timer functions on a real Azurite."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from infra.local.azurite import RunningAzurite
from tests.integration.functions_host.conftest import Account, StartHost, eventually

pytestmark = pytest.mark.integration

BLOBS = """
@app.blob_trigger(arg_name="b", path="uploads/{name}.txt", connection="AzureWebJobsStorage", source="EventGrid")
@app.blob_output(arg_name="o", path="results/{name}.out", connection="AzureWebJobsStorage")
@app.blob_input(arg_name="extra", path="extras/{name}", connection="AzureWebJobsStorage")
def convert(b: func.InputStream, o: func.Out[bytes], extra: bytes) -> None:
    note(f"{b.name} {b.length} {b.metadata} {extra}")
    content = b.read()
    if content == b"bad":
        raise ValueError("no")
    o.set(content.upper())
"""


@pytest.fixture
def account(own_azurite: RunningAzurite) -> Iterator[Account]:
    client = Account(own_azurite.connection_string)
    yield client
    client.close()


def test_each_content_of_a_blob_runs_once_over_restarts_and_bad_ones_are_set_aside(
    own_azurite: RunningAzurite, account: Account, start_host: StartHost
) -> None:
    uploads = account.blobs.create_container("uploads")
    uploads.upload_blob("early.txt", b"early")
    host = start_host(own_azurite.connection_string, BLOBS)
    uploads.upload_blob("one.txt", b"one", metadata={"who": "me"})
    uploads.upload_blob("other.bin", b"not for us")
    account.blobs.create_container("extras").upload_blob("bad", b"more")
    eventually(lambda: len(host.notes()) == 2, what="two runs")
    assert sorted(host.notes()) == [
        "uploads/early.txt 5 {} None",
        "uploads/one.txt 3 {'who': 'me'} None",
    ]
    results = account.blobs.get_container_client("results")
    eventually(lambda: sorted(results.list_blob_names()) == ["early.out", "one.out"])
    assert results.download_blob("one.out").readall() == b"ONE"
    assert host.stop() == 0

    again = start_host(own_azurite.connection_string)
    uploads.upload_blob("one.txt", b"changed", overwrite=True)
    uploads.upload_blob("bad.txt", b"bad")
    eventually(lambda: len(account.peek("webjobs-blobtrigger-poison")) == 1, what="poison")
    assert again.notes().count("uploads/early.txt 5 {} None") == 1
    assert again.notes().count("uploads/one.txt 7 {} None") == 1
    assert again.notes().count("uploads/bad.txt 3 {} b'more'") == 5
    assert account.count("azure-webjobs-blobtrigger-tests") == 0
    receipts = account.blobs.get_container_client("azure-webjobs-hosts").list_blob_names(
        name_starts_with="blobreceipts/tests/Host.Functions.convert/"
    )
    assert len(list(receipts)) == 4

    assert again.admin("POST", "functions/convert", json={"input": "uploads/early.txt"}).status_code == 202
    eventually(lambda: again.notes().count("uploads/early.txt 5 {} None") == 2)
    assert again.admin("POST", "functions/convert", json={"input": "uploads/none.txt"}).status_code == 400


TIMERS = """
@app.timer_trigger(arg_name="t", schedule="*/1 * * * * *", run_on_startup=True)
def every_second(t: func.TimerRequest) -> None:
    note(f"second {t.past_due}")
    raise ValueError("errors never stop the schedule")

@app.timer_trigger(arg_name="t", schedule="%DAILY%")
def daily(t: func.TimerRequest) -> None:
    note(f"daily {t.past_due} {t.schedule_status['Last'][:4]}")
"""


def test_timers_go_on_after_errors_and_make_up_for_one_missed_run(
    own_azurite: RunningAzurite,
    account: Account,
    start_host: StartHost,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAILY", "0 0 0 * * *")
    status = {
        "Last": "2020-01-01T00:00:00+00:00",
        "Next": "2020-01-02T00:00:00+00:00",
        "LastUpdated": "2020-01-01T00:00:00+00:00",
    }
    hosts = account.blobs.create_container("azure-webjobs-hosts")
    name = "timers/tests/Host.Functions.daily/status"
    hosts.upload_blob(name, json.dumps(status))
    host = start_host(own_azurite.connection_string, TIMERS)
    eventually(lambda: host.notes().count("second False") >= 3, what="three seconds")
    assert host.notes().count("daily True 2020") == 1
    eventually(lambda: json.loads(hosts.download_blob(name).readall())["Last"][:4] != "2020")
    assert host.stop() == 0

    second = start_host(own_azurite.connection_string)
    eventually(lambda: second.notes().count("second False") >= 6)
    assert sum(note.startswith("daily") for note in second.notes()) == 1
