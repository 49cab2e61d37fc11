"""Whatever bytes come: a request is read or refused, handled or answered with an error, and nothing else happens."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.eventhubs.hub import Hub
from infra.local.eventhubs.kafka.apis import VERSIONS, Api
from infra.local.eventhubs.kafka.codec import BadRequest, Prefix, decode_request, encode_response, read_prefix
from infra.local.eventhubs.kafka.produce import LostWrite
from infra.local.eventhubs.kafka.server import _HANDLERS
from infra.local.eventhubs.kafka.session import Session
from infra.local.eventhubs.log.records import Unreadable, places
from infra.local.eventhubs.settings import HubSettings, LogSettings

from .batches import make_keyed_batch
from .test_kafka_codec import EVERY_VERSION, request_frame

MANY = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
KNOWN_FRAMES = [request_frame(api, version) for api, version in EVERY_VERSION]
WAITING = {Api.FETCH, Api.JOIN_GROUP, Api.SYNC_GROUP}


@MANY
@given(st.sampled_from(sorted(VERSIONS)), st.integers(0, 12), st.binary(max_size=200))
def test_arbitrary_bytes_are_a_request_or_refused(api_key: int, version: int, rest: bytes) -> None:
    bounds = VERSIONS[api_key]
    version = min(max(version, bounds.lowest), bounds.highest)
    frame = api_key.to_bytes(2, "big") + version.to_bytes(2, "big") + b"\0\0\0\7" + rest
    with contextlib.suppress(BadRequest):
        decode_request(Prefix(api_key, version, 7), frame)


@st.composite
def damaged_frames(draw: st.DrawFn) -> bytes:
    frame = bytearray(draw(st.sampled_from(KNOWN_FRAMES)))
    for _ in range(draw(st.integers(0, 4))):
        frame[draw(st.integers(8, len(frame) - 1))] = draw(st.sampled_from((0, 1, 2, 0x7F, 0x80, 0xFF)))
    return bytes(frame) + draw(st.binary(max_size=8))


@MANY
@given(st.lists(damaged_frames(), min_size=1, max_size=20))
def test_every_request_that_can_be_read_gets_an_answer(tmp_path_factory: Any, frames: list[bytes]) -> None:
    asyncio.run(_handle_all(tmp_path_factory.mktemp("fuzz"), frames))


async def _handle_all(directory: Path, frames: list[bytes]) -> None:
    hub = Hub(HubSettings(directory, {"readings": 1}, log=LogSettings(fsync="none")))
    try:
        for frame in frames:
            prefix = read_prefix(frame)
            try:
                request = decode_request(prefix, frame)
            except BadRequest:
                continue
            session = Session(hub, "localhost", 9092, "127.0.0.1", version=prefix.api_version)
            with contextlib.suppress(LostWrite, TimeoutError):
                handled = _HANDLERS[prefix.api_key](session, request.body)
                assert inspect.isawaitable(handled)
                answer = await (asyncio.wait_for(handled, 0.001) if prefix.api_key in WAITING else handled)
                if answer is not None:
                    encode_response(prefix, answer)
    finally:
        await hub.close()


@MANY
@given(st.binary(max_size=80), st.integers(0, 20))
def test_arbitrary_records_are_read_or_refused(payload: bytes, count: int) -> None:
    with contextlib.suppress(Unreadable):
        for place in places(memoryview(payload), count):
            assert 0 <= place.start < place.end <= len(payload)


def test_the_places_of_records_tile_their_batch() -> None:
    batch = make_keyed_batch((b"a", b"1"), (None, b"x" * 300), (b"b", None))
    found = list(places(memoryview(batch)[61:], 3))
    assert [(each.key, each.is_tombstone, each.offset_delta) for each in found] == [
        (b"a", False, 0),
        (None, False, 1),
        (b"b", True, 2),
    ]
    assert [each.end for each in found] == [*[each.start for each in found[1:]], len(batch) - 61]
