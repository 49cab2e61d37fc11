"""Films whose time stamps are missing, repeat, begin anew, or are picked by an edit list."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from tests.unit.films import LIMITS, OPTIONS, assert_same_order, assert_same_times, facts, make_film
from tests.unit.test_video_frames import CLOSED, decoded
from video.clip import make_clip, picture
from video.plan import plan_film
from video.stamps import TrackClock, ascending

MPEG2: dict[str, Any] = {"codec": "mpeg2video", "audio": ["mp2"], "options": {"g": "12", "bf": "2"}}


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([3, 4, 9, 10], [3, 4, 9, 10]),
        ([-5, -4, 0], [-5, -4, 0]),
        ([1, 3, 4, 2, 5], [1, 2, 3, 4, 5]),
        ([7, 7, 7, 8, 20], [7, 8, 9, 10, 20]),
        ([50, 51, 52, 0, 2, 1, 0], [50, 51, 52, 53, 54, 55, 56]),
        ([100, 0, 100, 0], [100, 101, 201, 202]),
    ],
)
def test_stamps_are_kept_where_they_ascend_and_made_to_where_they_do_not(stamps: list[int], times: list[int]) -> None:
    assert ascending(stamps, step=1, jump=10) == times


def test_a_track_goes_on_where_the_film_is_when_its_stamps_begin_anew() -> None:
    clock = TrackClock(Fraction(1, 10), apart=True)
    given = [(0, 0), (4, 1), (4, 1), (None, 1), (0, 6), (4, 7), (8, 7)]
    moved = [(stamp or 0) + clock.shift(stamp, 4, Fraction(reached)) for stamp, reached in given]
    # Two equal ones a tick apart, none at the end of the one before, 0 anew at six seconds.
    assert moved == [0, 4, 5, 9, 10, 11, 12]
    clock = TrackClock(Fraction(1, 10), apart=False)
    given = [(0, 0), (40, 1), (40, 1), (0, 6), (4, 7)]
    assert [(stamp or 0) + clock.shift(stamp, 4, Fraction(reached)) for stamp, reached in given] == [
        0,
        40,
        40,
        60,
        64,
    ]


@pytest.mark.parametrize(("codec", "kind"), [("libx264", "h264"), ("libx265", "hevc")])
def test_a_bare_stream_without_stamps_gets_the_rate_of_its_header(tmp_path: Path, codec: str, kind: str) -> None:
    source = tmp_path / f"film.{kind}"
    with av.open(str(source), "w", format=kind) as out:
        stream: Any = out.add_stream(
            codec, rate=30, options={"x265-params": "log-level=none:pools=1:frame-threads=1"}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(picture(number, 64, 48, 40)).reformat(format="yuv420p")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    plan, out_path = make_film(source)
    assert (plan.marks, plan.frames) == ("count", 40)
    assert any("30 frames a second are taken" in note for note in plan.notes)
    assert [round(time * 30, 1) for time in facts(out_path).times] == list(range(40))
    assert decoded(source, plan) == decoded(source, plan_film(source, OPTIONS, LIMITS, segment_frames=1000))


@pytest.mark.parametrize("bframes", ["0", "2"])
def test_two_frames_with_one_stamp_do_not_move_the_others(tmp_path: Path, bframes: str) -> None:
    source = tmp_path / "film.mkv"
    # Matroska counts milliseconds: the second of each pair falls on the first.
    times = [0, 4000, 8000, 8003, 12000, 16000, 16003, 20000, 24000, 31000]
    make_clip(source, times=times, time_base=Fraction(1, 100_000), fps=25, size=(64, 48), options={"bf": bframes})
    _plan, out = make_film(source, segment_frames=4)
    before, after = facts(source), facts(out)
    assert len(set(before.times)) == 8
    assert_same_times(before, after)
    assert_same_order(before, after)
    assert after.sound == before.sound


def two_in_a_row(target: Path, sizes: tuple[tuple[int, int], tuple[int, int]] = ((64, 48), (64, 48))) -> None:
    """Two MPEG-TS films in one file; the stamps of the second begin anew."""
    data = b""
    for frames, size in zip((40, 60), sizes, strict=True):
        make_clip(target, frames=frames, size=size, container="mpegts", **MPEG2)
        data += target.read_bytes()
    target.write_bytes(data)


def test_films_put_behind_each_other_play_one_after_the_other_with_their_sound(tmp_path: Path) -> None:
    source = tmp_path / "film.ts"
    two_in_a_row(source)
    plan, out = make_film(source)
    before, after = facts(source), facts(out)
    assert any("begin anew 1 times" in note for note in plan.notes)
    assert len(after.times) == len(before.times) == 100
    assert {round((b - a) * 1000) for a, b in pairwise(after.times)} == {40}
    assert_same_order(before, after)
    assert after.sound == before.sound
    assert sum(segment.seek is not None for segment in plan.segments) > 5
    assert decoded(source, plan) == decoded(source, plan_film(source, OPTIONS, LIMITS, segment_frames=1000))
    sound = after.sound_times[0]
    assert {round((b - a) * 1000) for a, b in pairwise(sound)} == {24}
    # The second film's sound begins with its picture, as it did, but for what the first one's was longer.
    anew = next(at for at, (a, b) in enumerate(pairwise(before.sound_times[0]), 1) if b < a)
    offset = before.sound_times[0][0] - before.times[0]
    assert abs(sound[anew] - after.times[40] - offset) < Fraction(1, 20)


@pytest.mark.parametrize("kind", ["ts", "mkv"])
def test_a_film_whose_size_changes_midway_keeps_the_size_that_it_begins_with(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    joined, source = tmp_path / "joined.ts", tmp_path / f"film.{kind}"
    data = b""
    for size in ((64, 48), (96, 80)):
        make_clip(joined, frames=20, size=size, audio=[], container="mpegts", options={"g": "12", "bf": "0"})
        data += joined.read_bytes()
    joined.write_bytes(data)
    with av.open(str(joined)) as film, av.open(str(source), "w", format={"ts": "mpegts"}.get(kind)) as target:
        copy = target.add_stream_from_template(film.streams.video[0])
        for number, packet in enumerate(packet for packet in film.demux() if packet.size):
            packet.stream = copy
            packet.pts = packet.dts = 3600 * number
            target.mux(packet)
    caplog.set_level("INFO")
    plan, out = make_film(source)
    before, after = facts(source), facts(out)
    assert before.sizes == {(64, 48), (96, 80)}
    assert after.sizes == {(64, 48)}
    assert_same_times(before, after)
    assert "the picture is now 96x80: scaled to 64x48" in caplog.text
    # Matroska's stamps are trusted, so nothing is decoded for the plan.
    assert any("all is scaled to 64x48" in note for note in plan.notes) == (kind == "ts")


def boxes(data: bytearray, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start < end:
        size, name = struct.unpack(">I4s", data[start : start + 8])
        yield name, start, size
        start += size


def set_edits(path: Path, track: int, edits: list[tuple[int, int]]) -> None:
    """Write another edit list: pairs of a duration in milliseconds and a time in the track's own unit."""
    data = bytearray(path.read_bytes())
    _, moov, length = next(box for box in boxes(data, 0, len(data)) if box[0] == b"moov")
    _, trak, size = [box for box in boxes(data, moov + 8, moov + length) if box[0] == b"trak"][track]
    _, at, old = next(box for box in boxes(data, trak + 8, trak + size) if box[0] == b"edts")
    entries = b"".join(struct.pack(">Iihh", duration, begin, 1, 0) for duration, begin in edits)
    new = struct.pack(">I4sI4sII", len(entries) + 24, b"edts", len(entries) + 16, b"elst", 0, len(edits)) + entries
    data[at : at + old] = new
    struct.pack_into(">I", data, trak, size + len(new) - old)
    struct.pack_into(">I", data, moov, length + len(new) - old)
    path.write_bytes(data)


FRAME, SECOND = 512, 48_000
"""In the units of the tracks of picture and sound."""


@pytest.mark.parametrize(
    ("edits", "frames"),
    [
        ([(1600, 10)], 40),
        ([(400, 10), (400, 30)], 20),
        ([(400, 30), (400, 10)], 20),
    ],
    ids=["start trimmed", "two parts", "two parts the other way round"],
)
def test_an_edit_list_is_followed_by_picture_and_sound(
    tmp_path: Path, edits: list[tuple[int, int]], frames: int
) -> None:
    source = tmp_path / "film.mp4"
    make_clip(source, frames=60, size=(64, 48), options=CLOSED)
    delay = 2 * FRAME  # of the first frame, for the B-frames
    set_edits(source, 0, [(length, begin * FRAME + delay) for length, begin in edits])
    set_edits(source, 1, [(length, begin * SECOND // 25 + 1024) for length, begin in edits])
    plan, out = make_film(source)
    before, after = facts(source), facts(out)
    assert plan.frames == len(before.times) == frames
    assert_same_times(before, after)
    assert_same_order(before, after)
    assert heard(out) == heard(source)


def heard(path: Path) -> list[tuple[int, bytes]]:
    """Packets of sound that an edit list does not leave out, with their times."""
    with av.open(str(path)) as film:
        return [
            (packet.pts or 0, bytes(packet))
            for packet in film.demux(audio=0)
            if packet.size and not packet.is_discard
        ]
