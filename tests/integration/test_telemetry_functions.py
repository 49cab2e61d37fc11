"""Scoring, folding and sweeping on real storage and a real state store."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from functions.folding import Folder, StreamPartition
from functions.scoring import handle_batch
from functions.sweeping import Sweeper
from infra.azure.blobs import AzureBlobs
from infra.azure.queues import AzureQueue
from infra.clock import SystemClock
from infra.local.azurite import RunningAzurite, running_azurite
from infra.state.sqlite import SqliteState
from models.contracts import Alert
from models.errors import AlreadyExists, TryLater
from models.names import batch_blob, checkpoint_blob
from tests.unit.telemetry import SPEC, THRESHOLD, Plant, ValueBank, Window, batch_bytes, message_bytes

pytestmark = pytest.mark.integration

LOCK = timedelta(seconds=30)


class Account:
    """One process's clients, on a hub of its own."""

    def __init__(self, azurite: RunningAzurite, path: Path, hub: str) -> None:
        self.partition = StreamPartition(hub, SPEC, 0)
        self.blobs = AzureBlobs(azurite.connection_string)
        self.queue = AzureQueue(azurite.connection_string, f"score-{hub}")
        self.state = SqliteState(path)
        self.folder = Folder(self.blobs, self.state, SystemClock(), threshold=THRESHOLD)
        self.sweeper = Sweeper(self.blobs, self.state, self.queue, self.folder, SystemClock())

    def write(self, seq: int, windows: list[Window]) -> None:
        """As the stream: create-only, then the checkpoint."""
        self.blobs.create(batch_blob(self.partition.hub, SPEC, 0, seq), batch_bytes(windows))
        self.blobs.replace(checkpoint_blob(self.partition.hub, SPEC, 0), b"")

    def score(self, seq: int) -> None:
        handle_batch(message_bytes(seq, self.partition), self.blobs, ValueBank(), self.folder)

    def alerts(self) -> list[Alert]:
        documents = self.state.query("telemetry", id_prefix="alert:")
        alerts = [msgspec.json.decode(document.body, type=Alert) for document in documents]
        return [msgspec.structs.replace(alert, raised_at=0.0, updated_at=0.0) for alert in alerts]

    def close(self) -> None:
        for each in (self.blobs, self.queue, self.state):
            each.close()


def undisturbed(batches: list[list[Window]], hub: str) -> list[Alert]:
    plant = Plant()
    for seq, windows in enumerate(batches):
        plant.write_batch(seq, windows)
        handle_batch(message_bytes(seq), plant.blobs, ValueBank(), plant.folder)
    return [msgspec.structs.replace(alert, hub=hub) for alert in plant.alerts()]


def log(batches: int) -> list[list[Window]]:
    dice = random.Random(7)
    return [
        [Window(seq, f"device-{n}", dice.choice([0.0, 0.0, 2.0, 3.0])) for n in range(20)] for seq in range(batches)
    ]


def test_deliveries_in_any_order_twice_and_by_two_hosts_give_the_alerts_of_one_calm_host(
    azurite: RunningAzurite, tmp_path: Path
) -> None:
    batches = log(24)
    hosts = [Account(azurite, tmp_path / "state.sqlite", "racing") for _ in range(2)]
    for seq, windows in enumerate(batches):
        hosts[0].write(seq, windows)
    deliveries = [(host, seq) for host in hosts for seq in range(len(batches))]
    random.Random(3).shuffle(deliveries)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda delivery: delivery[0].score(delivery[1]), deliveries))
    assert hosts[0].folder.position(hosts[0].partition).applied_until == len(batches)
    assert hosts[0].alerts() == undisturbed(batches, "racing")
    assert hosts[0].sweeper.sweep().failed == 0
    for host in hosts:
        host.close()


def test_after_azurite_was_killed_the_sweep_restores_what_it_forgot(tmp_path: Path) -> None:
    batches = log(12)
    with running_azurite(tmp_path / "azurite") as azurite:
        host = Account(azurite, tmp_path / "state.sqlite", "forgotten")
        for seq, windows in enumerate(batches):
            host.write(seq, windows)
            host.score(seq)
        before = host.alerts()
        assert before == undisturbed(batches, "forgotten")
        azurite.kill()
        with pytest.raises(TryLater):
            host.score(0)
        azurite.start()
        for first in range(0, len(batches), 2):  # the stream writes again, in other groups, what is gone
            try:
                host.write(first // 2, [*batches[first], *batches[first + 1]])
            except AlreadyExists:
                break
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not settled(host):
            host.sweeper.sweep()
            while (item := host.queue.receive(LOCK)) is not None:
                handle_batch(item.body, host.blobs, ValueBank(), host.folder)
                host.queue.delete(item)
            time.sleep(0.5)
        assert settled(host)
        assert host.alerts() == before
        host.close()


def settled(host: Account) -> bool:
    """Whether every batch has predictions that are folded."""
    batches = list(host.blobs.list(f"windows/{host.partition.hub}/"))
    predictions = list(host.blobs.list(f"predictions/{host.partition.hub}/"))
    applied = host.folder.position(host.partition)
    return (
        0 < len(batches) == len(predictions) == applied.applied_until
        and [info.etag for info in predictions] == applied.etags
    )
