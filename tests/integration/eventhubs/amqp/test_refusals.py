"""What Event Hubs refuses, with the names it gives to it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AzureSasCredential
from azure.eventhub import EventData, EventDataBatch, EventHubProducerClient
from azure.eventhub._client_base import _generate_sas_token
from azure.eventhub._pyamqp.error import ErrorCondition
from azure.eventhub.exceptions import AuthenticationError, ConnectError, EventHubError

from infra.local.eventhubs.testing import RunningHub, running_hub
from tests.integration.eventhubs.amqp.sdk import WAIT_S, Listening, bodies, consumer, producer, receive, send

pytestmark = pytest.mark.integration
NewTopic = Callable[[int], str]


def condition(error: BaseException) -> str:
    """The AMQP name inside an error of the SDK."""
    found = re.search(r"Error condition: (?:ErrorCondition\.)?(\S+)", str(error))
    assert found, error
    name = found[1]
    return ErrorCondition[name].value.decode() if name in ErrorCondition.__members__ else name


def test_an_unknown_hub_is_not_found(hub: RunningHub) -> None:
    with producer(hub, "nowhere") as client:
        with pytest.raises(ConnectError, match="could not be found") as raised:
            client.get_eventhub_properties()
        assert condition(raised.value) == "amqp:not-found"
        with pytest.raises(EventHubError) as raised_by_send:
            client.send_event(EventData(b"x"))
        assert condition(raised_by_send.value) == "amqp:not-found"


def test_an_unknown_partition_is_not_found(hub: RunningHub) -> None:
    with producer(hub, "readings") as client:
        with pytest.raises(ConnectError) as raised:
            client.get_partition_properties("99")
        assert condition(raised.value) == "amqp:not-found"


@pytest.mark.parametrize(
    ("group", "options", "name"),
    [
        ("nobody", {}, "amqp:not-found"),
        ("$Default", {"starting_position": "no number"}, "com.microsoft:argument-error"),
        ("$Default", {"starting_position": 10**9}, "com.microsoft:argument-error"),
    ],
)
def test_a_receiver_that_cannot_be_is_told_why(
    hub: RunningHub, group: str, options: dict[str, Any], name: str
) -> None:
    options = {"partition_id": "0", "starting_position": "-1", **options}
    with Listening(consumer(hub, "readings", group), **options) as listening:
        assert listening.wait_for(lambda: listening.errors)
    assert condition(listening.errors[0]) == name


@pytest.mark.parametrize(("name", "key"), [("RootManageSharedAccessKey", "wrong"), ("nobody", "SAS_KEY_VALUE")])
def test_a_wrong_key_is_unauthorised(hub: RunningHub, name: str, key: str) -> None:
    wrong = hub.connection_string_with(name, key)
    client = EventHubProducerClient.from_connection_string(wrong, eventhub_name="readings", retry_total=0)
    with client, pytest.raises(AuthenticationError, match="401"):
        client.send_event(EventData(b"x"))


def test_a_signature_without_its_key_opens_its_hub_only(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    signature = _generate_sas_token(f"sb://localhost/{topic}", "RootManageSharedAccessKey", "SAS_KEY_VALUE").token
    text = str(signature if isinstance(signature, str) else signature.decode())

    def client(name: str) -> EventHubProducerClient:
        return EventHubProducerClient(
            f"localhost:{hub.amqp_port}", name, AzureSasCredential(text), use_tls=False, retry_total=0
        )

    with client(topic) as own:
        own.send_event(EventData(b"x"))
    with client("readings") as other, pytest.raises(EventHubError) as raised:
        other.send_event(EventData(b"x"))
    assert condition(raised.value) == "amqp:unauthorized-access"
    assert bodies(receive(hub, topic, 1)) == [b"x"]


def test_a_higher_owner_level_steals_the_partition(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    send(hub, topic, [b"0"])
    start = {"partition_id": "0", "starting_position": "-1"}
    with Listening(consumer(hub, topic), owner_level=1, **start) as first:
        assert first.wait_for(lambda: first.events)
        with Listening(consumer(hub, topic), owner_level=2, **start) as second:
            assert second.wait_for(lambda: second.events)
            assert first.wait_for(lambda: first.errors)
            assert condition(first.errors[0]) == "amqp:link:stolen"
            for level in ({"owner_level": 1}, {}):
                with Listening(consumer(hub, topic), **level, **start) as lesser:  # type: ignore[arg-type]  # a dict of both
                    assert lesser.wait_for(lambda: lesser.errors)
                    assert condition(lesser.errors[0]) == "amqp:link:stolen"
            send(hub, topic, [b"1"])
            assert second.wait_for(lambda: len(second.events) == 2)


def test_a_sixth_receiver_is_one_too_many(hub: RunningHub, new_topic: NewTopic) -> None:
    topic = new_topic(1)
    send(hub, topic, [b"0"])
    start = {"partition_id": "0", "starting_position": "-1"}
    present = [Listening(consumer(hub, topic), **start) for _ in range(5)]
    try:
        assert all(each.wait_for(lambda each=each: each.events) for each in present)
        with Listening(consumer(hub, topic), **start) as sixth:
            assert sixth.wait_for(lambda: sixth.errors)
            assert condition(sixth.errors[0]) == "amqp:resource-limit-exceeded"
    finally:
        for each in present:
            each.close()


def test_what_is_over_the_throughput_units_is_refused_as_server_busy_until_they_are_there_again(
    tmp_path: Path,
) -> None:
    with (
        running_hub(tmp_path / "data", {"readings": 1}, throughput_units=1) as hub,
        producer(hub, "readings") as client,
    ):

        def batch_of(number: int) -> EventDataBatch:
            batch = client.create_batch(partition_id="0")
            for each in range(2500):
                batch.add(EventData(b"%d-%d" % (number, each)))
            return batch

        def refusal_of(batch: EventDataBatch) -> str | None:
            try:
                client.send_batch(batch)
            except EventHubError as error:
                return condition(error)
            return None

        first, second = batch_of(0), batch_of(1)  # beforehand: it may take as long as the units need to come back
        assert refusal_of(first) is None, "a second's worth is in reserve"
        begun = time.monotonic()
        refused = 0
        while (name := refusal_of(second)) is not None:
            assert name == "com.microsoft:server-busy"
            refused += 1
            assert time.monotonic() - begun < WAIT_S
        assert refused > 0
        assert bodies(receive(hub, "readings", 5000)) == [
            b"%d-%d" % (n, each) for n in (0, 1) for each in range(2500)
        ]
