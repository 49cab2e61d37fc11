"""EventHubSender on a hub that goes away, hangs, or refuses it."""

import gc
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.azure.eventhub import EventHubSender, connect
from infra.local.eventhubs.testing import RunningHub, running_hub
from models.errors import ConfigurationError, TryLater

pytestmark = [
    pytest.mark.integration,
    # A connection that fails before it is whole is left by the SDK to the collector, with its socket open.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Here and not in some later test."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("hub "):
            thread.join(10)
    gc.collect()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub", {"ratings": 2}) as running:
        yield running


def sender(hub: RunningHub, name: str = "ratings", connection: str = "", timeout_s: float = 5.0) -> EventHubSender:
    return EventHubSender(
        name, connect(name, connection=connection or hub.connection_string, namespace=None), timeout_s=timeout_s
    )


def test_a_hub_that_comes_back_takes_events_from_the_same_sender(hub: RunningHub) -> None:
    sending = sender(hub, timeout_s=15)
    sending.send("a", b"1")
    hub.kill()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(sending.send, "a", b"2")
        hub.restart()
    assert waiting.exception() is None
    sending.send("a", b"3")
    sending.close()


def test_a_hub_that_is_away_or_hangs_is_try_later_and_holds_nobody_up_for_ever(hub: RunningHub) -> None:
    sending = sender(hub, timeout_s=0.5)
    os.kill(hub.pid, signal.SIGSTOP)
    for _ in range(2):
        with pytest.raises(TryLater, match="no answer"):
            sending.send("a", b"1")
    os.kill(hub.pid, signal.SIGCONT)
    hub.kill()
    sending.close()
    away = sender(hub, timeout_s=3)
    with pytest.raises(TryLater, match="hub ratings"):
        away.send("a", b"1")
    away.close()


def test_what_settings_have_wrong_is_said_at_once(hub: RunningHub) -> None:
    wrong_key = hub.connection_string_with("RootManageSharedAccessKey", "wrong")
    for sending, message in (
        (sender(hub, name="nowhere"), "does not exist"),
        (sender(hub, connection=wrong_key), "refused"),
        (sender(hub, connection="Endpoint"), "connection string is wrong"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            sending.send("a", b"1")
        sending.close()
