"""What sends for simulated devices and for replays: over AMQP and over Kafka, into one log."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.feed.device_sender import DeviceSender
from infra.feed.sender import Sender
from infra.local.eventhubs.testing import RunningHub, running_hub
from infra.settings import Settings
from models.errors import ConfigurationError, TryLater
from tests.integration.eventhubs.clients import read_aiokafka

pytestmark = [
    pytest.mark.integration,
    # The SDK leaves the socket of a connection that it lost to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]
DEVICES = [f"device-{number}" for number in range(10)]


@pytest.fixture(autouse=True)
async def collected() -> AsyncIterator[None]:
    """Nothing is left for the next test to collect."""
    yield
    gc.collect()


def settings_for(hub: RunningHub) -> Settings:
    return Settings(amqp_connection=hub.connection_string, kafka_bootstrap=hub.bootstrap)


async def test_a_device_stays_on_one_partition_whatever_the_protocol_and_in_order_through_a_kill(
    tmp_path: Path,
) -> None:
    with running_hub(tmp_path / "hub", {"readings": 4}) as hub:
        async with DeviceSender(settings_for(hub)) as amqp, Sender(settings_for(hub)) as kafka:
            assert await amqp.ends() == dict.fromkeys(range(4), 0)
            first = [await amqp.send(device, b"%d" % number) for number in range(5) for device in DEVICES]
            await first[0]  # the rest is under way
            hub.kill()
            second = [await amqp.send(device, b"%d" % number) for number in range(5, 10) for device in DEVICES]
            hub.restart()
            await asyncio.gather(*first, *second)
            await asyncio.gather(*[await kafka.send(device, b"10") for device in DEVICES])
            ends = await amqp.ends()
        seen = await read_aiokafka(hub.bootstrap, "readings", 4, sum(ends.values()))
    for device in DEVICES:
        mine = [each for each in seen if each.event.key == device.encode()]
        assert len({each.partition for each in mine}) == 1
        bodies = [each.event.value for each in mine]
        # A batch whose acknowledgement was lost is there twice, whole.
        assert list(dict.fromkeys(bodies)) == [b"%d" % number for number in range(11)]


async def test_senders_say_at_once_that_there_is_no_such_hub(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub", {"readings": 1}) as hub:
        settings = Settings(amqp_connection=hub.connection_string, kafka_bootstrap=hub.bootstrap, hub="reading")
        async with DeviceSender(settings) as sender:
            with pytest.raises(ConfigurationError, match=r"hub reading does not exist.*PENSTOCK_HUB"):
                await (await sender.send("d", b"1"))
            with pytest.raises(ConfigurationError, match=r"hub reading does not exist.*PENSTOCK_HUB"):
                await sender.ends()
        with pytest.raises(ConfigurationError, match=r"no hub reading .*PENSTOCK_HUB"):
            await Sender(settings).__aenter__()


async def test_a_sender_gives_up_on_a_hub_that_is_gone_and_on_a_wrong_key_at_once(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub", {"readings": 1}) as hub:
        wrong = Settings(amqp_connection=hub.connection_string_with("RootManageSharedAccessKey", "wrong"))
        async with DeviceSender(wrong) as sender:
            with pytest.raises(ConfigurationError, match=r"key .*is refused.*PENSTOCK_AMQP_CONNECTION"):
                await (await sender.send("d", b"1"))
        with pytest.raises(ConfigurationError, match=r"PENSTOCK_AMQP_CONNECTION.*malformed"):
            await DeviceSender(Settings(amqp_connection="none")).__aenter__()
        settings = settings_for(hub)
    async with DeviceSender(settings, patience_s=0.1) as sender:
        with pytest.raises(TryLater, match=r"^hub readings: .+"):
            await (await sender.send("d", b"1"))
