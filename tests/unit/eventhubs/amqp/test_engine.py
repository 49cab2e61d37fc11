"""The protocol's state beyond what the SDK asks for, and what no client should send."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from crc32c import crc32c
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.eventhubs.amqp import performatives as wire
from infra.local.eventhubs.amqp.encoding import encode
from infra.local.eventhubs.amqp.frames import AMQP_HEADER, SASL_FRAME, SASL_HEADER, frame
from infra.local.eventhubs.amqp.message import APPLICATION_PROPERTIES, VALUE, data_section, section
from infra.local.eventhubs.amqp.values import Described, Symbol, UInt, ULong
from infra.local.eventhubs.hub import Hub
from tests.unit.eventhubs.amqp.peer import Peer, Seen
from tests.unit.eventhubs.amqp.test_traps import RECEIVER, only, opened, peer_frames, values
from tests.unit.eventhubs.batches import make_batch


def sasl_init(mechanism: str, response: bytes | None = None) -> bytes:
    return frame(0, encode(Described(ULong(0x41), [Symbol(mechanism), response])), SASL_FRAME)


def fill(peer: Peer, count: int, size: int = 10) -> None:
    peer.attach_sender("readings/Partitions/0", handle=9)
    for number in range(count):
        peer.transfer(data_section(b"%d" % number + bytes(size)), delivery_id=number, handle=9)
    peer.frames()


async def received(peer: Peer) -> list[Seen]:
    await asyncio.sleep(0.02)
    return [seen for seen in peer.frames() if seen.code == wire.TRANSFER]


@pytest.mark.parametrize(
    ("mechanism", "response", "code"),
    [
        ("ANONYMOUS", None, 0),
        ("MSSBCBS", None, 0),
        ("EXTERNAL", None, 0),
        ("PLAIN", b"\0RootManageSharedAccessKey\0SAS_KEY_VALUE", 0),
        ("PLAIN", b"\0RootManageSharedAccessKey\0wrong", 1),
        ("PLAIN", b"junk", 1),
        ("PLAIN", None, 1),
        ("GSSAPI", None, 1),
    ],
)
async def test_sasl_takes_who_can_prove_or_will(hub: Hub, mechanism: str, response: bytes | None, code: int) -> None:
    peer = Peer(hub)
    peer.give(SASL_HEADER)
    peer.take()
    peer.give(sasl_init(mechanism, response))
    (outcome,) = peer_frames(peer.take())
    assert (outcome.code, outcome.fields[0]) == (0x44, code)
    assert peer.connection.closed == bool(code)
    if not code:
        peer.give(AMQP_HEADER)
        assert peer.take() == AMQP_HEADER


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01", b"AMQP\x02\x01\0\0"]
)
async def test_another_protocol_is_told_what_is_spoken_here(hub: Hub, greeting: bytes) -> None:
    peer = Peer(hub)
    peer.give(greeting)
    assert peer.take() == SASL_HEADER
    assert peer.connection.closed


async def test_events_are_sent_in_order_and_no_more_than_credit_allows(hub: Hub) -> None:
    peer = opened(hub)
    fill(peer, 10)
    peer.attach_receiver(RECEIVER)
    assert await received(peer) == []
    peer.flow(3)
    first = await received(peer)
    peer.flow(100, delivery_count=3, next_incoming=3)
    rest = await received(peer)
    assert [seen.fields[1] for seen in first + rest] == list(range(10))
    bodies = [bytes(seen.fields[11])[-11:-10] for seen in first + rest]
    assert bodies == [b"%d" % number for number in range(10)]
    assert len(first) == 3


async def test_the_window_holds_transfers_back(hub: Hub) -> None:
    peer = Peer(hub)
    peer.open()
    peer.begin(window=2)
    fill(peer, 5)
    peer.attach_receiver(RECEIVER)
    peer.flow(100, window=2)
    assert len(await received(peer)) == 2
    peer.flow(98, delivery_count=2, next_incoming=2, window=2)
    assert len(await received(peer)) == 2


async def test_transfers_that_wait_for_the_window_go_with_their_link(hub: Hub) -> None:
    peer = Peer(hub)
    peer.open()
    peer.begin(window=1)
    fill(peer, 3)
    peer.attach_receiver(RECEIVER)
    peer.flow(100, window=1)
    assert len(await received(peer)) == 1
    peer.send(wire.DETACH, UInt(0), True)
    peer.flow(0, handle=9, window=100, next_incoming=1)
    assert await received(peer) == []


async def test_the_window_of_one_link_wakes_the_others(hub: Hub) -> None:
    peer = Peer(hub)
    peer.open()
    peer.begin(window=1)
    fill(peer, 3)
    peer.attach_receiver(RECEIVER)
    peer.flow(1, window=0)
    assert await received(peer) == []
    peer.flow(0, handle=9, window=10)
    assert len(await received(peer)) == 1


async def test_an_event_larger_than_a_frame_is_cut(hub: Hub) -> None:
    peer = Peer(hub)
    peer.open(max_frame_bytes=512)
    peer.begin()
    fill(peer, 1, size=2000)
    peer.attach_receiver(RECEIVER)
    peer.flow(1)
    frames = await received(peer)
    assert len(frames) > 4
    assert [seen.fields[5] for seen in frames] == [True] * (len(frames) - 1) + [False]
    assert {seen.fields[1] for seen in frames} == {0}
    assert b"".join(bytes(seen.fields[11]) for seen in frames).endswith(bytes(2000))
    assert all(len(seen.fields[11]) <= 512 - 38 for seen in frames)


async def test_draining_gives_the_credit_back(hub: Hub) -> None:
    peer = opened(hub)
    fill(peer, 2)
    peer.attach_receiver(RECEIVER)
    peer.frames()
    peer.flow(10, drain=True)
    await asyncio.sleep(0.02)
    seen = peer.frames()
    assert [each.code for each in seen].count(wire.TRANSFER) == 2
    flow = only(seen, wire.FLOW)
    assert (flow.fields[5], flow.fields[6]) == (10, 0)


async def test_credit_is_renewed_before_a_sender_runs_out(hub: Hub) -> None:
    peer = opened(hub)
    peer.attach_sender("readings/Partitions/0")
    credit = only(peer.frames(), wire.FLOW).fields[6]
    for number in range(credit):
        peer.transfer(data_section(b"x"), delivery_id=number)
    flows = [seen for seen in peer.frames() if seen.code == wire.FLOW]
    assert flows
    assert flows[-1].fields[5] + flows[-1].fields[6] > credit


async def test_an_aborted_delivery_is_forgotten(hub: Hub) -> None:
    peer = opened(hub)
    peer.attach_sender("readings/Partitions/0")
    peer.transfer(b"half", more=True)
    peer.send(wire.TRANSFER, UInt(0), None, None, None, None, False, None, None, None, True)
    peer.transfer(data_section(b"whole"), delivery_id=1)
    assert values(hub) == [b"whole"]


async def test_interleaved_deliveries_of_two_links_do_not_mix(hub: Hub) -> None:
    peer = opened(hub)
    for partition in (0, 1):
        peer.attach_sender(f"readings/Partitions/{partition}", handle=partition)
    first, second = data_section(b"a" * 20), data_section(b"b" * 20)
    peer.transfer(first[:9], 0, handle=0, more=True)
    peer.transfer(second[:7], 1, handle=1, more=True)
    peer.transfer(first[9:], handle=0, first=False)
    peer.transfer(second[7:], handle=1, first=False)
    assert (values(hub, 0), values(hub, 1)) == ([b"a" * 20], [b"b" * 20])


async def test_a_higher_epoch_steals_and_a_lower_is_refused(hub: Hub) -> None:
    peer = opened(hub)
    epoch = Symbol("com.microsoft:epoch")
    peer.attach_receiver(RECEIVER, handle=0)
    peer.attach_receiver(RECEIVER, handle=1, properties={epoch: 5})
    detach = only(peer.frames(), wire.DETACH)
    assert (detach.fields[0], detach.fields[2][0]) == (0, b"amqp:link:stolen")
    peer.attach_receiver(RECEIVER, handle=2, properties={epoch: 4})
    assert only(peer.frames(), wire.DETACH).fields[0] == 2
    peer.attach_receiver(RECEIVER, handle=3)
    assert only(peer.frames(), wire.DETACH).fields[0] == 3
    peer.attach_receiver(RECEIVER, handle=4, properties={epoch: 5})
    assert only(peer.frames(), wire.DETACH).fields[0] == 1
    peer.send(wire.DETACH, UInt(4), True)
    peer.frames()
    peer.attach_receiver(RECEIVER, handle=5)
    assert wire.DETACH not in peer.codes()


async def test_heartbeats_are_sent_when_the_client_wants_them(hub: Hub) -> None:
    peer = Peer(hub)
    peer.open(idle_ms=4000)
    assert peer.connection.tick_s <= 1
    sent_at = []
    for second in range(20):
        peer.now = float(second)
        peer.connection.tick(peer.now)
        if peer.take() == b"\0\0\0\x08\x02\0\0\0":
            sent_at.append(second)
    pauses = [later - earlier for earlier, later in itertools.pairwise(sent_at)]
    assert sent_at
    assert max(pauses) < 4


async def test_a_silent_client_is_disconnected(hub: Hub) -> None:
    peer = Peer(hub, idle_timeout_s=10.0)
    peer.open()
    peer.connection.tick(19.0)
    assert not peer.connection.closed
    peer.give(b"\0\0\0\x08\x02\0\0\0")
    peer.connection.tick(21.0)
    assert peer.connection.closed
    assert only(peer.frames(), wire.CLOSE).fields[0][0] == b"amqp:connection:forced"


async def test_a_deleted_hub_detaches_its_receivers(hub: Hub) -> None:
    peer = opened(hub)
    peer.attach_receiver(RECEIVER)
    peer.flow(10)
    await asyncio.sleep(0.01)
    peer.frames()
    await hub.delete_topic("readings")
    await asyncio.sleep(0.05)
    assert only(peer.frames(), wire.DETACH).fields[2][0] == b"amqp:not-found"


async def test_events_before_an_unreadable_batch_are_sent_before_the_link_ends(hub: Hub) -> None:
    log = hub.partition("readings", 0)
    log.append(make_batch(b"good"), 1)
    bad = bytearray(make_batch(b"bad"))
    bad[61] = 0x7F  # the record's length
    bad[17:21] = crc32c(bytes(bad[21:])).to_bytes(4, "big")
    log.append(bytes(bad), 1)
    log.append(make_batch(b"after"), 1)
    peer = opened(hub)
    peer.attach_receiver(RECEIVER)
    peer.flow(10)
    await asyncio.sleep(0.02)
    seen = peer.frames()
    assert bytes(only(seen, wire.TRANSFER).fields[11]).endswith(b"good")
    condition, description, _ = only(seen, wire.DETACH).fields[2]
    assert condition == b"amqp:decode-error"
    assert b"start after offset 1" in description
    peer.attach_receiver(RECEIVER, "amqp.annotation.x-opt-offset > '1'", handle=1)
    peer.flow(10, handle=1)
    assert [bytes(each.fields[11])[-5:] for each in await received(peer)] == [b"after"]


@pytest.mark.parametrize("kind", ["unknown handle", "handle in use", "handle too high"])
async def test_a_confused_session_is_ended_and_the_connection_goes_on(hub: Hub, kind: str) -> None:
    peer = opened(hub)
    peer.attach_sender("readings")
    peer.frames()
    if kind == "unknown handle":
        peer.transfer(b"x", handle=3)
    else:
        peer.attach_sender("readings", handle=0 if kind == "handle in use" else 10_000)
    end = only(peer.frames(), wire.END)
    assert end.fields[0][0].startswith(b"amqp:")
    assert [seen.code for seen in peer.begin(channel=2)] == [wire.BEGIN]


async def test_two_hundred_frames_at_once_are_all_handled(hub: Hub) -> None:
    peer = opened(hub)
    peer.attach_sender("readings/Partitions/0")
    one = frame(1, wire.write(wire.TRANSFER, UInt(0), UInt(1), b"t", UInt(0), True, False) + data_section(b"x"))
    peer.give(one * 200)
    assert len(values(hub)) == 200


PUT_TOKEN = section(APPLICATION_PROPERTIES, encode({"operation": "put-token"})) + section(VALUE, encode("sas"))
READ_HUB = section(
    APPLICATION_PROPERTIES, encode({"operation": "READ", "name": "readings", "type": "com.microsoft:eventhub"})
)
SCRIPT: list[tuple[int, tuple[Any, ...], bytes]] = [
    (wire.BEGIN, (None, UInt(0), UInt(100), UInt(100)), b""),
    (wire.ATTACH, ("s", UInt(0), False, None, None, None, Described(ULong(0x29), ["readings"])), b""),
    (wire.ATTACH, ("r", UInt(1), True, None, None, Described(ULong(0x28), [RECEIVER]), None), b""),
    (wire.ATTACH, ("c", UInt(2), False, None, None, None, Described(ULong(0x29), ["$cbs"])), b""),
    (wire.ATTACH, ("m", UInt(3), False, None, None, None, Described(ULong(0x29), ["$management"])), b""),
    (wire.TRANSFER, (UInt(0), UInt(0), b"t", UInt(0x80013700), False, False), data_section(data_section(b"x"))),
    (wire.TRANSFER, (UInt(2), UInt(1), b"t", UInt(0), False, False), PUT_TOKEN),
    (wire.TRANSFER, (UInt(3), UInt(2), b"t", UInt(0), False, False), READ_HUB),
    (wire.FLOW, (UInt(0), UInt(9), UInt(0), UInt(9), UInt(1), UInt(0), UInt(9), None, True, True), b""),
    (wire.DISPOSITION, (True, UInt(0), UInt(0), True), b""),
    (wire.DETACH, (UInt(1), True), b""),
    (wire.END, (), b""),
    (wire.CLOSE, (), b""),
]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4))
async def test_damaged_frames_never_raise(hub: Hub, damage: list[tuple[int, int]]) -> None:
    peer = Peer(hub)
    peer.open()
    frames = bytearray(b"".join(frame(1, wire.write(code, *fields) + payload) for code, fields, payload in SCRIPT))
    for position, byte in damage:
        frames[position % len(frames)] = byte
    peer.give(bytes(frames))
    peer.connection.tick(1.0)
    peer.connection.abandon()
    await asyncio.sleep(0)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), opening=st.sampled_from([b"", AMQP_HEADER, SASL_HEADER]))
async def test_any_bytes_leave_the_connection_closed_or_waiting(hub: Hub, data: bytes, opening: bytes) -> None:
    peer = Peer(hub)
    peer.give(opening + data)
    peer.connection.abandon()
