"""Contract of the EventSender port, on the fake and on the local hub's AMQP endpoint."""

import pytest

from models.errors import BadInput
from models.ports import EventSender
from tests.fakes import FakeSender


class Fake:
    def __init__(self) -> None:
        self.sender = FakeSender()

    def events(self, count: int) -> list[tuple[str, bytes]]:
        assert len(self.sender.events) == count
        return self.sender.events


@pytest.fixture(params=["fake"])
def hub(request):
    return Fake()


def test_an_event_that_was_sent_is_in_the_log_with_its_key_byte_for_byte(hub) -> None:
    sender: EventSender = hub.sender
    sent = [("ana ☂/7?#", b'{"a": 1}'), ("b", b"\x00\xff"), ("b", "grüße".encode())]
    for key, body in sent:
        sender.send(key, body)
    assert sorted(hub.events(3)) == sorted(sent)


def test_events_of_one_key_stay_in_the_order_in_which_they_were_sent(hub) -> None:
    bodies = [b"%d" % n for n in range(20)]
    for body in bodies:
        hub.sender.send("a", body)
    assert [body for _, body in hub.events(20)] == bodies


def test_an_event_too_large_for_the_hub_is_bad_input(hub) -> None:
    with pytest.raises(BadInput, match="at most"):
        hub.sender.send("a", b"x" * (1024 * 1024 + 1))
    hub.sender.send("a", b"after")
    assert hub.events(1) == [("a", b"after")]
