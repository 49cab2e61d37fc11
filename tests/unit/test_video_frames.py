"""Frames out are frames in, at the same times, whatever the codec, the container and the way it was cut."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from models.contracts.film import FilmOptions, FilmPlan, Segment
from tests.unit.films import LIMITS, OPTIONS, assert_same_order, assert_same_times, facts, make_film
from video.clip import make_clip, picture
from video.decode import frames_between
from video.plan import plan_film

X264 = {"preset": "ultrafast", "crf": "12"}
CLOSED = {**X264, "g": "12", "bf": "2", "x264-params": "scenecut=0"}
OPEN = {**X264, "x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-pyramid=normal:scenecut=0"}
ONE_KEY = {**X264, "x264-params": "keyint=infinite:scenecut=0:bframes=2"}
REFRESH = {**X264, "x264-params": "intra-refresh=1:keyint=10"}
X265 = {"preset": "ultrafast"}
X265_OPEN = {
    **X265,
    "x265-params": "log-level=none:pools=1:frame-threads=1:open-gop=1:keyint=12:min-keyint=12:bframes=3:scenecut=0",
}
HIDDEN = {"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16", "g": "12"}
B_FRAMES = {"g": "12", "bf": "2"}

MATRIX = [
    *(("h264", options, kind) for options in (CLOSED, OPEN, ONE_KEY) for kind in ("mp4", "mov", "mkv", "avi")),
    ("h264", REFRESH, "mp4"),
    *(("hevc", X265_OPEN, kind) for kind in ("mp4", "mov", "mkv")),
    *(("vp9", HIDDEN, kind) for kind in ("webm", "mkv", "mp4", "avi")),
    ("vp8", HIDDEN, "webm"),
    *(("av1", {"g": "12"}, kind) for kind in ("webm", "mkv", "mp4")),
    *(("mpeg4", B_FRAMES, kind) for kind in ("mp4", "mov", "mkv", "avi")),
]
SOUND = {"webm": "libopus", "avi": "libmp3lame"}


def need(codec: str) -> None:
    name = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "vp8": "libvpx", "av1": "libsvtav1"}.get(codec)
    if name:
        try:
            av.codec.Codec(name, "w")
        except ValueError:
            pytest.skip(f"this FFmpeg has no encoder {name}")


@pytest.mark.parametrize(
    ("codec", "options", "kind"), MATRIX, ids=[f"{c}-{k}-{n}" for n, (c, _, k) in enumerate(MATRIX)]
)
def test_every_frame_of_every_format_comes_back_at_its_time_with_its_sound(
    tmp_path: Path, codec: str, options: dict[str, str], kind: str
) -> None:
    need(codec)
    source = tmp_path / f"film.{kind}"
    make_clip(source, frames=40, size=(64, 48), codec=codec, audio=[SOUND.get(kind, "aac")], options=options)
    _plan, out = make_film(source)
    before, after = facts(source), facts(out)
    assert_same_times(before, after)
    assert_same_order(before, after)
    assert after.sound == before.sound


@pytest.mark.parametrize(
    ("codec", "options", "kind"), MATRIX, ids=[f"{c}-{k}-{n}" for n, (c, _, k) in enumerate(MATRIX)]
)
def test_a_frame_is_the_same_to_the_bit_wherever_decoding_began(
    tmp_path: Path, codec: str, options: dict[str, str], kind: str
) -> None:
    need(codec)
    source = tmp_path / f"film.{kind}"
    make_clip(source, frames=40, size=(64, 48), codec=codec, audio=[], options=options)
    plan = plan_film(source, OPTIONS, LIMITS, segment_frames=7)
    whole = plan_film(source, OPTIONS, LIMITS, segment_frames=1000)
    if options in (OPEN, CLOSED, X265_OPEN, HIDDEN, B_FRAMES):
        assert any(segment.seek for segment in plan.segments)
    assert decoded(source, plan) == decoded(source, whole)


def decoded(source: Path, plan: FilmPlan) -> list[tuple[int, bytes]]:
    return [
        (frame.time, frame.picture.tobytes())
        for segment in plan.segments
        for frame in frames_between(source, plan, segment)
    ]


@pytest.mark.parametrize("frames", [1, 2, 823])
@pytest.mark.parametrize("segment_frames", [1000, 100])
def test_no_frame_is_lost_for_any_number_of_frames_and_segments(
    tmp_path: Path, frames: int, segment_frames: int
) -> None:
    source = tmp_path / "film.mp4"
    make_clip(source, frames=frames, size=(32, 32), audio=[])
    plan, out = make_film(source, segment_frames=segment_frames)
    assert plan.frames == frames
    assert_same_times(facts(source), facts(out))


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30000, 1001), Fraction(30), Fraction(60)])
def test_frame_rates_and_length_are_kept(tmp_path: Path, fps: Fraction, kind: str) -> None:
    source = tmp_path / f"film.{kind}"
    make_clip(source, seconds=1.5, fps=fps, size=(32, 32), audio=[])
    _plan, out = make_film(source)
    assert_same_times(facts(source), facts(out), Fraction(1, 90_000) if kind == "mp4" else Fraction(1, 1000))
    with av.open(str(source)) as before, av.open(str(out)) as after:
        assert abs((before.duration or 0) - (after.duration or 0)) <= 2000


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
def test_variable_frame_times_and_a_late_start_are_kept(tmp_path: Path, kind: str) -> None:
    source = tmp_path / f"film.{kind}"
    steps = np.random.default_rng(1).integers(8, 400, 50)
    times = [1500 + int(step) for step in np.cumsum(steps)]
    make_clip(source, times=times, time_base=Fraction(1, 1000), fps=10, size=(32, 32), options=CLOSED, audio=[])
    plan, out = make_film(source)
    assert_same_times(facts(source), facts(out))
    assert facts(out).times[0] > 1
    assert plan.segments[0].times[0] * Fraction(*plan.source.time_base) == facts(source).times[0]


def test_segments_are_ranges_of_times_that_meet_and_have_a_greatest_length(tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    make_clip(source, frames=100, size=(32, 32), audio=[], options=ONE_KEY)
    plan = plan_film(source, OPTIONS, LIMITS, segment_seconds=0.5, segment_frames=40)
    unit = Fraction(*plan.source.time_base)
    for segment, following in zip(plan.segments, plan.segments[1:], strict=False):
        assert segment.stop == following.start
        assert segment.first + segment.frames == following.first
        assert all(segment.start <= time < segment.stop for time in segment.times)
    assert all((each.stop - each.start) * unit <= Fraction(1, 2) for each in plan.segments)
    assert max(each.frames for each in plan_film(source, OPTIONS, LIMITS, segment_frames=7).segments) == 7


def test_the_same_file_gives_the_same_plan(tmp_path: Path) -> None:
    source = tmp_path / "film.mkv"
    make_clip(source, frames=30, size=(32, 32))
    assert plan_film(source, OPTIONS, LIMITS) == plan_film(source, OPTIONS, LIMITS)


@pytest.mark.parametrize("size", [(361, 643), (130, 254), (33, 32), (64, 64)])
def test_the_size_is_kept_also_where_it_is_odd(tmp_path: Path, size: tuple[int, int]) -> None:
    source = tmp_path / "film.mkv"
    codec = "h264" if size[0] % 2 == size[1] % 2 == 0 else "vp9"
    make_clip(source, frames=3, size=size, codec=codec, audio=[])
    plan, out = make_film(source)
    assert facts(out).sizes == {size}
    assert plan.encoder.pixel_format == ("yuv420p" if codec == "h264" else "yuv444p")


def test_a_wanted_size_is_met_and_the_shape_on_the_screen_kept(tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    make_clip(source, frames=3, size=(64, 48), audio=[])
    plan = plan_film(source, FilmOptions(style="none", size="32x48"), LIMITS)
    assert (plan.encoder.width, plan.encoder.height, plan.encoder.sample_aspect) == (32, 48, (2, 1))


def test_a_film_cut_out_of_another_begins_with_its_first_whole_frame(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    make_clip(whole, frames=60, size=(64, 48), codec="hevc", audio=[], options=X265_OPEN)
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        keys = 0
        for packet in source.demux(stream):
            keys += packet.is_keyframe
            if packet.size and keys >= 2:
                packet.stream = copy
                target.mux(packet)
    plan, out = make_film(cut)
    assert_same_times(facts(cut), facts(out))
    assert any("cut off" in note for note in plan.notes)


def test_a_key_packet_that_does_not_lead_to_the_frame_costs_time_and_no_frame(tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    make_clip(source, frames=40, size=(64, 48), audio=[], options=CLOSED)
    plan = plan_film(source, OPTIONS, LIMITS, segment_frames=10)
    late = plan.segments[3].seek
    assert late is not None
    segment: Segment = plan.segments[1]
    wrong = type(segment)(
        start=segment.start, stop=segment.stop, first=segment.first, times=segment.times, mark=segment.mark, seek=late
    )
    right = [frame.picture.tobytes() for frame in frames_between(source, plan, segment)]
    assert [frame.picture.tobytes() for frame in frames_between(source, plan, wrong)] == right


def packed(target: Path) -> None:
    """A film as DivX wrote it: a frame and the B-frame before it in one packet, then a packet that says nothing."""
    frames: list[tuple[bytes, bool]] = []
    with av.open(str(target), "w") as out:
        stream: Any = out.add_stream("mpeg4", rate=25, options={"b_strategy": "0"})
        stream.width, stream.height = 64, 48
        stream.codec_context.max_b_frames, stream.codec_context.gop_size = 1, 12
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(picture(number, 64, 48, 40)).reformat(format="yuv420p")
            frame.pts = number
            frames += [(bytes(packet), packet.is_keyframe) for packet in stream.encode(frame)]
        frames += [(bytes(packet), packet.is_keyframe) for packet in stream.encode()]
        start = b"\0\0\1\xb6"
        first, key = frames[0]
        at = first.index(start)
        frames[0] = (first[:at] + b"\0\0\1\xb2DivX503b1393p" + first[at:], key)
        packets: list[tuple[bytes, bool]] = []
        for data, key in frames:
            if data[data.index(start) + 4] >> 6 == 2:  # a B-frame
                before, its_key = packets[-1]
                packets[-1] = (before + data, its_key)
                packets.append((start + b"\x50\x7f", False))
            else:
                packets.append((data, key))
        for number, (data, key) in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), key
            packet.pts = packet.dts = number
            out.mux(packet)


def test_frames_that_were_packed_into_one_are_all_found(tmp_path: Path) -> None:
    source = tmp_path / "film.avi"
    packed(source)
    plan, out = make_film(source)
    assert plan.frames == 40
    assert any(segment.seek for segment in plan.segments)
    assert decoded(source, plan) == decoded(source, plan_film(source, OPTIONS, LIMITS, segment_frames=1000))
    before, after = facts(source), facts(out)
    assert len(after.times) == 40
    assert {round((b - a) * 1000) for a, b in zip(after.times, after.times[1:], strict=False)} == {40}
    assert_same_order(before, after)
