"""What is wrong with acknowledged records is refused; what a crash left unfinished is cut; neither is served."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.eventhubs.errors import CannotStart
from infra.local.eventhubs.hub import Hub
from infra.local.eventhubs.log.flush import Flusher
from infra.local.eventhubs.log.partition import PartitionLog
from infra.local.eventhubs.log.segment import segment_path
from infra.local.eventhubs.repair import cut
from infra.local.eventhubs.settings import FsyncPolicy, HubSettings, LogSettings

from .batches import make_batch, records_of

NOW_MS = 1_700_000_000_000
EVERYTHING = 2**31
VALUES = [b"first", b"second", b"third", b"the last"]
LAST_BYTES = len(make_batch(VALUES[-1]))


def values(directory: Path, fsync: FsyncPolicy = "none", segment_bytes: int = 2**26) -> list[bytes]:
    """What a start serves."""
    log = PartitionLog(directory, LogSettings(fsync=fsync, segment_bytes=segment_bytes), Flusher("none", 0))
    try:
        found: list[bytes] = []
        while data := log.read(len(found), EVERYTHING):
            found += [record.value for record in records_of(data)]
        return found
    finally:
        log.close()


async def write(directory: Path, fsync: FsyncPolicy = "none", values: list[bytes] = VALUES) -> bytes:
    """A log of one batch per value in one segment, without marks, as after a kill; returns the segment's bytes."""
    flusher = Flusher(fsync, 0)
    log = PartitionLog(directory, LogSettings(fsync=fsync), flusher)
    for value in values:
        await log.settled(log.append(make_batch(value), NOW_MS))
    await flusher.close()
    log.close()
    for mark in (*directory.glob("*.index"), *directory.glob("*.snapshot")):
        mark.unlink()
    return segment_path(directory, 0).read_bytes()


async def test_a_flipped_byte_before_an_intact_batch_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    whole = await write(tmp_path / "0")
    segment = segment_path(tmp_path / "0", 0)
    for position in range(len(whole) - LAST_BYTES):
        damaged = bytearray(whole)
        damaged[position] ^= 0x40
        segment.write_bytes(damaged)
        with pytest.raises(CannotStart, match=r"damaged at byte .* a whole batch follows at byte .*eventhubs cut /"):
            values(tmp_path / "0")
        assert segment.read_bytes() == damaged, f"flipped at {position}"


@given(
    texts=st.lists(st.binary(max_size=300), min_size=2, max_size=8),
    damage=st.data(),
)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_of_any_kind_anywhere_is_refused_or_leaves_the_beginning(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], damage: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("log") / "0"
    whole = asyncio.run(write(directory, values=texts))
    start = damage.draw(st.integers(0, len(whole) - 1), "start")
    stop = damage.draw(st.integers(start + 1, len(whole)), "stop")
    kind = damage.draw(st.sampled_from(["zeroed", "scribbled", "cut out", "cut off"]))
    replacement = {
        "zeroed": bytes(stop - start),
        "scribbled": bytes(each ^ 0x55 for each in whole[start:stop]),
        "cut out": b"",
        "cut off": b"",
    }[kind]
    damaged = whole[:start] + replacement + (b"" if kind == "cut off" else whole[stop:])
    segment_path(directory, 0).write_bytes(damaged)
    ends = [0]
    for text in texts:
        ends.append(ends[-1] + len(make_batch(text)))
    intact = sum(end <= start for end in ends[1:])
    if damaged == whole:
        intact = len(texts)
    last_survives = damaged != whole and kind in ("zeroed", "scribbled", "cut out") and stop <= ends[-2]
    try:
        served = values(directory)
    except CannotStart:
        assert segment_path(directory, 0).read_bytes() == damaged
        assert damaged != whole
    else:
        # More may be intact than was left alone: bytes may have been put in place of equal ones.
        assert len(served) >= intact
        assert served == texts[: len(served)]
        last_begins = len(damaged) - (ends[-1] - ends[-2])
        assert not last_survives or last_begins < ends[len(served)], "an intact batch was behind the damage"


@pytest.mark.parametrize("gone", [1, 5])
async def test_batches_that_vanished_from_before_an_intact_one_are_missed(tmp_path: Path, gone: int) -> None:
    whole = await write(tmp_path / "0", values=[b""] * 6)
    damaged = whole[len(whole) // 6 * gone :]
    segment_path(tmp_path / "0", 0).write_bytes(damaged)
    with pytest.raises(CannotStart, match=r"damaged at byte 0, .* a whole batch follows at byte 0"):
        values(tmp_path / "0")
    assert segment_path(tmp_path / "0", 0).read_bytes() == damaged


async def test_what_was_flushed_is_refused_wherever_it_is_flipped_or_cut_off(tmp_path: Path) -> None:
    whole = await write(tmp_path / "0", "group")
    segment = segment_path(tmp_path / "0", 0)
    for position in range(len(whole)):
        segment.write_bytes(whole[:position])
        with pytest.raises(CannotStart, match="had been flushed"):
            values(tmp_path / "0")
        damaged = bytearray(whole)
        damaged[position] ^= 0x01
        segment.write_bytes(damaged)
        with pytest.raises(CannotStart, match="is damaged at byte"):
            values(tmp_path / "0")
    segment.unlink()
    with pytest.raises(CannotStart, match="is missing"):
        values(tmp_path / "0")
    segment.write_bytes(whole)
    assert values(tmp_path / "0") == VALUES


async def test_what_came_after_the_last_flush_is_cut_when_unfinished(tmp_path: Path) -> None:
    whole = await write(tmp_path / "0", "group")
    with segment_path(tmp_path / "0", 0).open("ab") as file:
        file.write(make_batch(b"never acknowledged")[:-1])
    assert values(tmp_path / "0") == VALUES
    [aside] = (tmp_path / "0").glob(f"*.cut-{len(whole)}")
    assert aside.read_bytes() == make_batch(b"never acknowledged")[:-1]


@pytest.mark.parametrize("content", [b"", b"short", bytes(12), b"\xff" * 12])
async def test_a_damaged_note_of_the_last_flush_is_no_note(tmp_path: Path, content: bytes) -> None:
    whole = await write(tmp_path / "0", "group")
    (tmp_path / "0" / "flushed").write_bytes(content)
    segment_path(tmp_path / "0", 0).write_bytes(whole[:-1])
    assert values(tmp_path / "0") == VALUES[:-1]


async def test_a_hole_before_a_whole_batch_waits_for_the_operator_who_may_cut(tmp_path: Path) -> None:
    """A power cut within a flush can leave this, with nothing of it acknowledged; so can a bad disk."""
    await Hub(HubSettings(tmp_path)).close()
    directory = tmp_path / "topics" / "readings.1" / "0"
    whole = await write(directory)
    first, hole = len(make_batch(VALUES[0])), len(make_batch(VALUES[1]))
    holed = whole[:first] + bytes(hole) + whole[first + hole :]
    segment_path(directory, 0).write_bytes(holed)
    with pytest.raises(CannotStart, match="or the machine lost power"):
        values(directory)
    assert "goes on at offset 1" in cut(segment_path(directory, 0))
    assert values(directory) == VALUES[:1]
    [aside] = directory.glob(f"*.cut-{first}")
    assert aside.read_bytes() == holed[first:]


async def test_cutting_an_earlier_segment_sets_the_later_ones_aside(tmp_path: Path) -> None:
    await Hub(HubSettings(tmp_path)).close()
    directory = tmp_path / "topics" / "readings.1" / "0"
    log = PartitionLog(directory, LogSettings(fsync="none", segment_bytes=100), Flusher("none", 0))
    for value in VALUES:
        log.append(make_batch(value), NOW_MS)
    log.close()
    damaged = segment_path(directory, 1)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(CannotStart, match="later segments exist"):
        values(directory, segment_bytes=100)
    assert "2 later segments set aside" in cut(damaged)
    assert values(directory, segment_bytes=100) == VALUES[:1]
    assert len(list(directory.glob("*.cut-*"))) == 3


async def test_only_a_file_of_a_stopped_hub_is_cut(tmp_path: Path) -> None:
    hub = Hub(HubSettings(tmp_path / "data", {"readings": 1}))
    [segment] = (tmp_path / "data").glob("topics/*/0/*.log")
    with pytest.raises(CannotStart, match="another hub serves"):
        cut(segment)
    await hub.close()
    (tmp_path / "elsewhere.log").touch()
    with pytest.raises(CannotStart, match="is no segment"):
        cut(tmp_path / "elsewhere.log")
    assert "0 bytes and 0 later segments set aside" in cut(segment)
