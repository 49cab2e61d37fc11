"""What the Python SDK needs to be so and not otherwise; each found by it failing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from azure.eventhub._pyamqp._decode import decode_frame

from infra.local.eventhubs.amqp import performatives as wire
from infra.local.eventhubs.amqp.frames import SASL_HEADER
from infra.local.eventhubs.amqp.mapping import BATCH_FORMAT
from infra.local.eventhubs.amqp.message import data_section
from infra.local.eventhubs.amqp.records import decode_batches
from infra.local.eventhubs.amqp.values import UInt
from infra.local.eventhubs.hub import Hub
from tests.unit.eventhubs.amqp.peer import Peer, Seen

FIELDS = {0x10: 10, 0x11: 8, 0x12: 14, 0x13: 11, 0x14: 12, 0x15: 6, 0x16: 3, 0x17: 1, 0x18: 1}
RECEIVER = "readings/ConsumerGroups/$Default/Partitions/0"


def values(hub: Hub, partition: int = 0) -> list[bytes | None]:
    log = hub.partition("readings", partition)
    batches = decode_batches(log.read(log.start_offset, 10_000_000))
    return [stored.record.value for batch in batches for stored in batch.records]


def opened(hub: Hub, **options: Any) -> Peer:
    peer = Peer(hub, **options)
    peer.open()
    peer.begin()
    return peer


def only(frames: list[Seen], code: int) -> Seen:
    (found,) = [each for each in frames if each.code == code]
    return found


async def test_every_performative_is_written_to_its_full_length(hub: Hub) -> None:
    peer = Peer(hub)
    seen = peer.open() + peer.begin()
    peer.attach_sender("readings/Partitions/0")
    peer.transfer(data_section(b"x"))
    peer.attach_receiver(RECEIVER, handle=1)
    peer.flow(10, handle=1)
    await asyncio.sleep(0.01)
    peer.send(wire.DETACH, UInt(0), True)
    peer.send(wire.END)
    peer.send(wire.CLOSE, channel=0)
    seen += peer.frames()
    assert {each.code for each in seen} == set(FIELDS)
    assert all(len(each.fields) == FIELDS[each.code] for each in seen)


async def test_an_error_has_three_fields(hub: Hub) -> None:
    peer = opened(hub)
    peer.attach_sender("nowhere")
    error = only(peer.frames(), wire.DETACH).fields[2]
    assert (error[0], len(error)) == (b"amqp:not-found", 3)
    peer.give(b"\x00\x00\x00\x00\x02\x00\x00\x00")
    error = only(peer.frames(), wire.CLOSE).fields[0]
    assert (error[0], len(error)) == (b"amqp:connection:framing-error", 3)
    assert peer.connection.closed


async def test_the_payload_follows_exactly_eleven_fields(hub: Hub) -> None:
    peer = opened(hub)
    peer.attach_sender("readings/Partitions/0")
    peer.transfer(data_section(b"payload"))
    peer.attach_receiver(RECEIVER, handle=1)
    peer.flow(1, handle=1)
    await asyncio.sleep(0.01)
    transfer = only(peer.frames(), wire.TRANSFER)
    assert bytes(transfer.fields[11]).endswith(data_section(b"payload"))


async def test_the_format_of_a_batch_is_read_on_its_first_frame(hub: Hub) -> None:
    peer = opened(hub)
    peer.attach_sender("readings/Partitions/0")
    payload = data_section(data_section(b"one")) + data_section(data_section(b"two"))
    peer.transfer(payload[:10], message_format=BATCH_FORMAT, more=True)
    peer.transfer(payload[10:15], message_format=None, more=True, first=False)
    assert values(hub) == []
    peer.transfer(payload[15:], message_format=None, first=False)
    assert values(hub) == [b"one", b"two"]


async def test_detaches_after_the_end_are_ignored(hub: Hub) -> None:
    peer = opened(hub)
    peer.attach_sender("readings")
    peer.send(wire.END)
    assert peer.codes()[-1] == wire.END
    peer.send(wire.DETACH, UInt(0), True)
    peer.flow(5)
    peer.transfer(data_section(b"late"))
    assert peer.codes() == []
    assert not peer.connection.closed
    assert [seen.code for seen in peer.begin()] == [wire.BEGIN]


async def test_open_states_frame_size_and_idle_time_out_in_milliseconds(hub: Hub) -> None:
    (opening,) = Peer(hub, idle_timeout_s=7.5).open()
    assert opening.fields[2] >= 512
    assert opening.fields[4] == 7500


@pytest.mark.parametrize("address", ["readings/Partitions/0", "nowhere", "readings/Partitions/9", ""])
async def test_source_and_target_are_echoed_even_to_a_link_that_is_refused(hub: Hub, address: str) -> None:
    peer = opened(hub)
    peer.attach_sender(address)
    attach, after = peer.frames()
    assert (attach.code, attach.fields[5], attach.fields[6]) == (wire.ATTACH, [b"client"], [address.encode()])
    if address.endswith("0"):
        assert after.code == wire.FLOW
    else:
        assert (after.code, after.fields[1]) == (wire.DETACH, True)


async def test_a_receiver_learns_the_first_delivery_count_and_the_largest_message(hub: Hub) -> None:
    peer = opened(hub)
    peer.attach_receiver(RECEIVER)
    attach = only(peer.frames(), wire.ATTACH)
    assert (attach.fields[2], attach.fields[9], attach.fields[10]) == (False, 0, 1024 * 1024)


async def test_a_delivery_is_settled_by_its_id_and_not_before_it_is_durable(durable_hub: Hub) -> None:
    peer = opened(durable_hub)
    peer.attach_sender("readings/Partitions/0")
    peer.frames()
    peer.transfer(data_section(b"x"), delivery_id=77)
    assert peer.codes() == [], "settled before the flush"
    async with asyncio.timeout(5):
        while not peer.output:
            await asyncio.sleep(0.005)
    assert durable_hub.partition("readings", 0).high_watermark == 1
    role, first, last, settled, state, _ = only(peer.frames(), wire.DISPOSITION).fields
    assert (role, first, last, settled, state) == (True, 77, 77, True, {"accepted": []})


async def test_a_message_over_the_limit_is_rejected_by_name_and_the_link_goes_on(hub: Hub) -> None:
    peer = opened(hub)
    peer.attach_sender("readings/Partitions/0")
    for index in range(18):
        peer.transfer(bytes(60_000), more=index < 17, first=index == 0)
    state = only(peer.frames(), wire.DISPOSITION).fields[4]
    assert state["rejected"][0][0] == b"amqp:link:message-size-exceeded"
    peer.transfer(data_section(b"small"), delivery_id=1)
    assert only(peer.frames(), wire.DISPOSITION).fields[4] == {"accepted": []}
    assert values(hub) == [b"small"]


async def test_delivery_ids_are_taken_from_their_field_and_no_window_is_policed(hub: Hub) -> None:
    peer = opened(hub)
    peer.attach_sender("readings/Partitions/0")
    peer.frames()
    for delivery_id in (5, 9, 2**32 - 1, 0):
        peer.transfer(data_section(b"x"), delivery_id=delivery_id)
    assert [seen.fields[1] for seen in peer.frames()] == [5, 9, 2**32 - 1, 0]


@pytest.mark.parametrize(
    ("address", "selector", "name"),
    [
        ("nowhere/ConsumerGroups/$Default/Partitions/0", None, b"amqp:not-found"),
        ("readings/ConsumerGroups/nobody/Partitions/0", None, b"amqp:not-found"),
        ("readings/ConsumerGroups/$Default/Partitions/2", None, b"amqp:not-found"),
        (RECEIVER, "nonsense", b"com.microsoft:argument-error"),
        (RECEIVER, "amqp.annotation.x-opt-offset > '99'", b"com.microsoft:argument-error"),
    ],
)
async def test_a_receiver_of_nothing_is_told_why(hub: Hub, address: str, selector: str | None, name: bytes) -> None:
    peer = opened(hub)
    peer.attach_receiver(address, selector)
    assert only(peer.frames(), wire.DETACH).fields[2][0] == name


async def test_frames_for_a_refused_link_do_not_end_the_session(hub: Hub) -> None:
    peer = opened(hub)
    peer.attach_sender("nowhere")
    peer.frames()
    peer.flow(100)
    peer.transfer(data_section(b"x"))
    peer.send(wire.DETACH, UInt(0), True)
    assert peer.codes() == []
    peer.attach_sender("readings")
    assert peer.codes() == [wire.ATTACH, wire.FLOW]


async def test_half_a_frame_waits_for_the_other_half(hub: Hub) -> None:
    peer = Peer(hub)
    for byte in b"AMQP\x00\x01\x00\x00":
        assert not peer.output
        peer.give(bytes((byte,)))
    assert peer.take() == b"AMQP\x00\x01\x00\x00"


async def test_mechanisms_are_an_array_even_for_one_reader(hub: Hub) -> None:
    peer = Peer(hub)
    peer.give(SASL_HEADER)
    answer = peer.take()
    assert answer.startswith(SASL_HEADER)
    (mechanisms,) = peer_frames(answer[8:])
    assert set(mechanisms.fields[0]) == {b"MSSBCBS", b"ANONYMOUS", b"PLAIN", b"EXTERNAL"}


def peer_frames(data: bytes) -> list[Seen]:
    code, fields = decode_frame(memoryview(data[8 : int.from_bytes(data[:4], "big")]))
    return [Seen(0, code, fields)]
