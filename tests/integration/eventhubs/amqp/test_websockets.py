"""AMQP inside a WebSocket, on the same port."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from azure.eventhub import EventData, TransportType
from azure.eventhub.aio import EventHubProducerClient

from infra.local.eventhubs.testing import RunningHub
from tests.integration.eventhubs.amqp.sdk import bodies, receive

pytestmark = pytest.mark.integration


# The SDK passes to aiohttp what aiohttp no longer likes.
@pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")
async def test_the_sdk_sends_through_a_websocket(hub: RunningHub, new_topic: Callable[[int], str]) -> None:
    topic = new_topic(1)
    options: dict[str, Any] = {
        "transport_type": TransportType.AmqpOverWebsocket,
        "custom_endpoint_address": f"sb://localhost:{hub.amqp_port}",
    }
    client = EventHubProducerClient.from_connection_string(
        hub.connection_string, eventhub_name=topic, retry_total=0, **options
    )
    async with client:
        assert (await client.get_eventhub_properties())["partition_ids"] == ["0"]
        batch = await client.create_batch(partition_id="0")
        for number in range(500):
            batch.add(EventData(b"%d" % number + bytes(300)))
        await client.send_batch(batch)
    assert [body.rstrip(b"\0") for body in bodies(receive(hub, topic, 500))] == [b"%d" % n for n in range(500)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x05hello",  # not masked
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff",  # 8 EiB
        b"\x81\x81\0\0\0\0x",  # text
    ],
)
def test_a_frame_that_is_none_closes_the_connection(hub: RunningHub, data: bytes) -> None:
    request = (
        b"GET /$servicebus/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: AMQPWSB10, amqp\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", hub.amqp_port), timeout=5) as connection:
        connection.sendall(request)
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer, "the example of the RFC"
        connection.sendall(data)
        while connection.recv(4096):
            pass
