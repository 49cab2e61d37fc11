"""Contract of the TaskQueue port, on the fake and on Azurite."""

import base64
import itertools
import time
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from azure.storage.queue import QueueClient

from infra.azure.queues import AzureQueue
from models.errors import BadInput, Superseded
from models.ports import TaskQueue
from tests.fakes import FakeQueue

names = (f"q-{uuid.uuid4().hex[:8]}-{n}" for n in itertools.count())
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)

Wait = Callable[[float], None]


@pytest.fixture(params=["fake", pytest.param("azurite", marks=pytest.mark.integration)])
def queue_and_wait(request):
    if request.param == "fake":
        fake = FakeQueue()
        yield fake, fake.clock.advance
        return
    real = AzureQueue(request.getfixturevalue("azurite").connection_string, next(names))
    yield real, time.sleep
    real.close()


@pytest.fixture
def queue(queue_and_wait: tuple[TaskQueue, Wait]) -> TaskQueue:
    return queue_and_wait[0]


@pytest.fixture
def wait(queue_and_wait: tuple[TaskQueue, Wait]) -> Wait:
    return queue_and_wait[1]


def test_a_queue_that_nobody_wrote_to_is_empty(queue: TaskQueue) -> None:
    assert queue.receive(MINUTE) is None
    assert queue.length() == 0


@pytest.mark.parametrize("body", [b"{}", "grüße 😀".encode(), b"\x00\xff\xfe", b"x" * 48 * 1024])
def test_a_body_comes_back_byte_for_byte(queue: TaskQueue, body: bytes) -> None:
    queue.send(body)
    item = queue.receive(MINUTE)
    assert item is not None
    assert (item.body, item.dequeue_count) == (body, 1)


def test_a_received_message_is_invisible_but_counted_until_it_is_deleted(queue: TaskQueue) -> None:
    queue.send(b"1")
    item = queue.receive(MINUTE)
    assert item is not None
    assert queue.receive(MINUTE) is None
    assert queue.length() == 1
    queue.delete(item)
    queue.delete(item)
    assert queue.length() == 0


def test_a_message_reappears_when_its_lock_ends_and_the_first_taker_has_lost_it(queue: TaskQueue, wait: Wait) -> None:
    queue.send(b"1")
    first = queue.receive(SECOND)
    wait(1.3)
    second = queue.receive(MINUTE)
    assert first is not None
    assert second is not None
    assert (second.id, second.dequeue_count) == (first.id, 2)
    with pytest.raises(Superseded):
        queue.renew(first, MINUTE)
    queue.delete(first)
    assert queue.length() == 1
    queue.delete(second)
    with pytest.raises(Superseded):
        queue.renew(second, MINUTE)


def test_a_renewed_message_stays_locked_with_its_body_and_count(queue: TaskQueue, wait: Wait) -> None:
    queue.send(b"1")
    item = queue.receive(SECOND)
    assert item is not None
    renewed = queue.renew(item, MINUTE)
    assert (renewed.body, renewed.dequeue_count) == (b"1", 1)
    wait(1.3)
    assert queue.receive(MINUTE) is None
    queue.delete(renewed)
    assert queue.length() == 0


def test_a_delayed_message_is_seen_after_its_delay(queue: TaskQueue, wait: Wait) -> None:
    queue.send(b"1", delay=SECOND)
    assert queue.receive(MINUTE) is None
    wait(1.3)
    assert queue.receive(MINUTE) is not None


@pytest.mark.integration
def test_on_the_wire_messages_are_base64_and_never_expire(azurite) -> None:
    name = next(names)
    AzureQueue(azurite.connection_string, name).send(b"hello")
    with QueueClient.from_connection_string(azurite.connection_string, name) as raw:
        message = raw.receive_message()
    assert message is not None
    assert message.content == base64.b64encode(b"hello").decode()
    assert message.expires_on is not None
    assert message.expires_on.year > 9000


@pytest.mark.integration
def test_a_message_that_is_not_base64_comes_as_it_is(azurite) -> None:
    name = next(names)
    queue = AzureQueue(azurite.connection_string, name)
    queue.send(b"")
    with QueueClient.from_connection_string(azurite.connection_string, name) as raw:
        raw.clear_messages()
        raw.send_message("not base64!")
    item = queue.receive(MINUTE)
    assert item is not None
    assert item.body == b"not base64!"


@pytest.mark.integration
def test_a_body_beyond_the_limit_is_bad_input(azurite) -> None:
    with pytest.raises(BadInput):
        AzureQueue(azurite.connection_string, next(names)).send(b"x" * 49 * 1024)
