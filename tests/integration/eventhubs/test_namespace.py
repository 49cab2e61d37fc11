from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.local.eventhubs.testing import HubDied, RunningHub, running_hub

from .certificates import make_certificate
from .clients import Event, produce_confluent, read_confluent

pytestmark = pytest.mark.integration

CONFIG = {
    "UserConfig": {
        "NamespaceConfig": [
            {
                "Type": "EventHub",
                "Name": "emulatorNs1",
                "Entities": [
                    {"Name": "eh1", "PartitionCount": "2", "ConsumerGroups": [{"Name": "cg1"}]},
                    {"Name": "eh2", "PartitionCount": 3},
                ],
            }
        ],
        "LoggingConfig": {"Type": "File"},
    }
}


def login(key: str, name: str = "RootManageSharedAccessKey") -> dict[str, str]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "$ConnectionString",
        "sasl.password": f"Endpoint=sb://localhost;SharedAccessKeyName={name};SharedAccessKey={key};",
        "log_level": "0",
    }


def admin_of(hub: RunningHub, **settings: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": hub.bootstrap, **settings})


def test_the_emulators_configuration_is_read(tmp_path: Path) -> None:
    config = tmp_path / "Config.json"
    config.write_text(json.dumps(CONFIG))
    with running_hub(tmp_path / "data", config=str(config)) as hub:
        topics = admin_of(hub).list_topics(timeout=5).topics
        assert {name: len(topic.partitions) for name, topic in topics.items()} == {"eh1": 2, "eh2": 3}


def test_a_wrong_configuration_is_refused_with_a_sentence(tmp_path: Path) -> None:
    config = tmp_path / "Config.json"
    for text, complaint in (
        ("{", "is not JSON"),
        ("{}", "missing required field"),
        (json.dumps(CONFIG).replace('"2"', '"33"'), "a hub has 1 to 32"),
    ):
        config.write_text(text)
        with pytest.raises(HubDied, match=complaint), running_hub(tmp_path / "data", config=str(config)):
            pass


def test_with_keys_required_only_a_key_of_the_namespace_opens_the_hub(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(
        json.dumps(
            [
                {"name": "RootManageSharedAccessKey", "key": "very+secret/key="},
                {"name": "reader", "key": "other", "rights": ["listen"]},
            ]
        )
    )
    with running_hub(tmp_path / "data", {"readings": 1}, keys=str(keys), require_keys=True) as hub:
        with pytest.raises(KafkaException):
            admin_of(hub, log_level="0").list_topics(timeout=1)
        with pytest.raises(KafkaException):
            admin_of(hub, **login("SAS_KEY_VALUE")).list_topics(timeout=1)
        assert "readings" in admin_of(hub, **login("very+secret/key=")).list_topics(timeout=5).topics

        errors: list[KafkaError | None] = []
        producer = Producer({"bootstrap.servers": hub.bootstrap, **login("other", "reader")})
        producer.produce("readings", b"v", on_delivery=lambda error, _: errors.append(error))
        producer.flush(5)
        assert errors[0] is not None
        assert errors[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
        assert "secret" not in hub.stderr


def test_the_tiers_refuse_what_azure_refuses(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data", {f"h{number}": 1 for number in range(9)}, tier="standard") as hub:
        admin = admin_of(hub)

        def create(topic: NewTopic) -> int | None:
            try:
                admin.create_topics([topic])[topic.topic].result(10)
            except KafkaException as failure:
                return int(failure.args[0].code())
            return None

        too_long = {"retention.ms": str(8 * 24 * 3600 * 1000)}
        assert create(NewTopic("kept", 1, config=too_long)) == KafkaError.INVALID_CONFIG
        assert create(NewTopic("tenth", 32)) is None
        assert create(NewTopic("eleventh", 1)) == KafkaError.POLICY_VIOLATION
    with running_hub(tmp_path / "basic", tier="basic") as hub:
        assert hub.port == 0, "no Kafka in the Basic tier"


@pytest.mark.parametrize(("only_gzip", "refused"), [(True, True), (False, False)])
def test_compressions_that_event_hubs_does_not_know_can_be_refused(
    tmp_path: Path, only_gzip: bool, refused: bool
) -> None:
    with running_hub(tmp_path / "data", {"readings": 1}, only_gzip=only_gzip) as hub:
        for codec in ("lz4", "gzip"):
            errors: list[KafkaError | None] = []
            producer = Producer({"bootstrap.servers": hub.bootstrap, "compression.type": codec})
            producer.produce("readings", b"v" * 1000, on_delivery=lambda error, _: errors.append(error))  # noqa: B023  # used within the turn
            producer.flush(5)
            assert (errors[0] is not None) == (refused and codec == "lz4")


def test_throughput_units_slow_a_fast_producer_down(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data", {"readings": 1}, throughput_units=1) as hub:
        producer = Producer({"bootstrap.servers": hub.bootstrap, "linger.ms": 0, "batch.num.messages": 250})
        started = time.monotonic()
        for _ in range(2500):
            producer.produce("readings", b"v")
        assert producer.flush(20) == 0
        assert time.monotonic() - started > 0.8, "one unit takes 1,000 events a second, after a second's reserve"


async def test_kafka_clients_connect_with_tls(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    options = {"tls_cert": str(certificate), "tls_key": str(certificate.with_name("key.pem"))}
    with running_hub(tmp_path / "data", {"readings": 1}, **options) as hub:
        secure = login("SAS_KEY_VALUE") | {"security.protocol": "SASL_SSL", "ssl.ca.location": str(certificate)}
        assert "readings" in admin_of(hub, **secure).list_topics(timeout=5).topics
        with pytest.raises(KafkaException):
            admin_of(hub, log_level="0").list_topics(timeout=1)


async def test_health_metrics_and_the_page_tell_what_is_there(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data", {"readings": 1}, http_port=0) as hub:
        base = f"http://127.0.0.1:{hub.http_port}"

        def get(path: str) -> str:
            with urllib.request.urlopen(base + path, timeout=5) as answer:
                text: str = answer.read().decode()
                return text

        await produce_confluent(hub.bootstrap, "readings", [Event(None, b"v")] * 3, None)
        assert len(await read_confluent(hub.bootstrap, "readings", 1, 3)) == 3
        assert json.loads(get("/health")) == {"status": "healthy", "failures": []}
        assert 'eventhubs_log_end_offset{topic="readings",partition="0"} 3\n' in get("/metrics")
        assert "<td>readings</td>" in get("/")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get("/elsewhere")
        assert hub.http_port is not None
        with socket.create_connection(("127.0.0.1", hub.http_port), timeout=5) as connection:
            connection.sendall(b"\x00" * 20_000 + b"\r\n\r\n")
        assert json.loads(get("/health"))["status"] == "healthy"
