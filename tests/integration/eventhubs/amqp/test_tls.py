"""With a certificate the AMQP port speaks TLS, for AMQP and for WebSockets alike."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient, TransportType
from azure.eventhub.aio import EventHubProducerClient as AsyncProducer

from infra.local.eventhubs.amqp.frames import SASL_HEADER
from infra.local.eventhubs.testing import RunningHub, running_hub
from tests.integration.eventhubs.amqp.sdk import Listening, bodies
from tests.integration.eventhubs.certificates import make_certificate

pytestmark = pytest.mark.integration
CONNECTION = "Endpoint=sb://localhost;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[RunningHub]:
    options = {"tls_cert": str(certificate), "tls_key": str(certificate.with_name("key.pem"))}
    with running_hub(tmp_path_factory.mktemp("hub") / "data", {"readings": 1}, **options) as running:
        yield running


def options_for(hub: RunningHub, certificate: Path, transport: TransportType) -> dict[str, Any]:
    return {
        "eventhub_name": "readings",
        "custom_endpoint_address": f"sb://localhost:{hub.amqp_port}",
        "transport_type": transport,
        "connection_verify": str(certificate),
        "retry_total": 0,
    }


async def test_the_sdk_sends_and_receives_over_tls(secure: RunningHub, certificate: Path) -> None:
    options = options_for(secure, certificate, TransportType.Amqp)
    with EventHubProducerClient.from_connection_string(CONNECTION, **options) as client:
        client.send_event(EventData(b"sync"))
    async with AsyncProducer.from_connection_string(CONNECTION, **options) as asynchronous:
        await asynchronous.send_event(EventData(bytes(300_000)))
    receiver = EventHubConsumerClient.from_connection_string(CONNECTION, "$Default", **options)
    with Listening(receiver, partition_id="0", starting_position="-1") as listening:
        assert listening.wait_for(lambda: len(listening.events) >= 2), listening.errors
        assert bodies(listening.events[:2]) == [b"sync", bytes(300_000)]


async def test_websockets_are_secure_as_well(secure: RunningHub, certificate: Path) -> None:
    options = options_for(secure, certificate, TransportType.AmqpOverWebsocket)
    async with AsyncProducer.from_connection_string(CONNECTION, **options) as client:
        assert (await client.get_eventhub_properties())["partition_ids"] == ["0"]


def test_a_client_that_does_not_trust_the_certificate_or_speaks_no_tls_is_not_served(secure: RunningHub) -> None:
    address = ("127.0.0.1", secure.amqp_port)
    with socket.create_connection(address, timeout=5) as connection, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(SASL_HEADER)
        assert SASL_HEADER not in connection.recv(4096)
