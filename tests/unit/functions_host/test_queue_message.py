"""What becomes of a message when the storage account does not cooperate."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError
from azure.storage.queue import QueueMessage

from infra.local.functions_host import queue_message
from infra.local.functions_host.queue_message import LockedMessage, poison_queue_name
from infra.local.functions_host.storage import OutageLog


def _refusal(status: int) -> HttpResponseError:
    error = HttpResponseError("refused")
    error.status_code = status
    return error


class FakeQueue:
    """Stands for a queue client: each call raises the next planned error, if any."""

    queue_name = "fake"

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.done: list[str] = []

    async def delete_message(self, message: QueueMessage) -> None:
        self._act("delete")

    async def send_message(self, content: str, *, time_to_live: int | None) -> None:
        self._act(f"send {content} {time_to_live}")

    def _act(self, what: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.done.append(what)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_message, "OUTAGE_POLL_S", 0.01)


def _locked(queue: Any, lock_s: float = 5) -> LockedMessage:
    return LockedMessage(queue, QueueMessage(content="raw", id="1", dequeue_count=5), lock_s, OutageLog("fake"))


async def test_a_delete_is_tried_on_through_an_outage() -> None:
    queue = FakeQueue(ServiceRequestError("away"), _refusal(503))
    await _locked(queue).delete()
    assert queue.done == ["delete"]


async def test_a_delete_is_given_up_when_the_lock_has_ended() -> None:
    queue = FakeQueue(*(ServiceRequestError("away") for _ in range(1000)))
    await _locked(queue, lock_s=0.05).delete()
    assert queue.done == []


@pytest.mark.parametrize("status", [400, 404])
async def test_a_delete_of_what_another_host_has_is_no_error(status: int) -> None:
    queue = FakeQueue(_refusal(status))
    await _locked(queue).delete()
    assert queue.done == []


async def test_a_message_is_deleted_only_after_its_copy_is_in_the_poison_queue() -> None:
    queue, poison = FakeQueue(), FakeQueue(ServiceRequestError("away"))
    await _locked(queue).set_aside(poison)  # type: ignore[arg-type]  # a fake of what is used
    assert (poison.done, queue.done) == (["send raw -1"], ["delete"])


@pytest.mark.parametrize("error", [_refusal(409), _refusal(403)])
async def test_a_message_that_cannot_be_copied_is_kept(error: HttpResponseError) -> None:
    queue, poison = FakeQueue(), FakeQueue(error)
    await _locked(queue).set_aside(poison)  # type: ignore[arg-type]  # a fake of what is used
    assert (poison.done, queue.done) == ([], [])


async def test_a_message_that_cannot_be_copied_before_its_lock_ends_is_kept() -> None:
    queue, poison = FakeQueue(), FakeQueue(*(ServiceRequestError("away") for _ in range(1000)))
    await _locked(queue, lock_s=0.05).set_aside(poison)  # type: ignore[arg-type]  # a fake of what is used
    assert (poison.done, queue.done) == ([], [])


async def test_without_a_poison_queue_a_message_is_left_alone() -> None:
    queue = FakeQueue()
    await _locked(queue).set_aside(None)
    assert queue.done == []


def test_poison_queues_are_named_where_the_real_host_names_them() -> None:
    assert poison_queue_name("orders") == "orders-poison"
    assert poison_queue_name("orders-poison") is None
    assert poison_queue_name("q" * 60) is None
