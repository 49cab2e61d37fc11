"""What is not the picture: sound, texts, chapters, tags, covers, and how the picture is to be shown."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from models.contracts.film import FilmOptions
from tests.unit.films import LIMITS, OPTIONS, assert_same_times, facts, make_film
from video.clip import make_clip
from video.plan import plan_film

ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+
[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0
[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
SMALL: dict[str, Any] = {"frames": 30, "size": (32, 32)}


def test_a_film_without_sound_stays_without(tmp_path: Path) -> None:
    make_clip(tmp_path / "film.mp4", audio=[], **SMALL)
    _plan, out = make_film(tmp_path / "film.mp4")
    assert facts(out).sound == []


@pytest.mark.parametrize(
    ("kind", "codecs", "ending"),
    [
        ("mp4", ["aac", "aac"], ".mp4"),
        ("mp4", ["aac", "libmp3lame", "ac3"], ".mp4"),
        ("mp4", ["libopus"], ".mp4"),
        ("mp4", ["flac"], ".mp4"),
        ("mov", ["pcm_s16le", "aac"], ".mov"),
        ("mov", ["alac"], ".mov"),
        ("mkv", ["libopus", "flac", "aac"], ".mkv"),
        ("mkv", ["pcm_s16le"], ".mkv"),
        ("webm", ["libopus", "libopus"], ".mkv"),
        ("avi", ["libmp3lame", "libmp3lame"], ".mkv"),
        ("avi", ["pcm_s16le"], ".mkv"),
        ("avi", ["ac3"], ".mkv"),
    ],
)
def test_every_packet_of_every_track_of_sound_is_copied(
    tmp_path: Path, kind: str, codecs: list[str], ending: str
) -> None:
    source = tmp_path / f"film.{kind}"
    make_clip(source, codec="vp9" if kind == "webm" else "h264", audio=codecs, **SMALL)
    plan, out = make_film(source)
    before, after = facts(source), facts(out)
    assert plan.ending == ending
    assert len(after.sound) == len(codecs)
    if codecs == ["pcm_s16le"]:
        assert [b"".join(track) for track in after.sound] == [b"".join(track) for track in before.sound]
    else:
        assert after.sound == before.sound
        for old, new in zip(before.sound_times, after.sound_times, strict=True):
            assert max(abs(a - b) for a, b in zip(old, new, strict=True)) <= Fraction(1, 1000)
    assert_same_times(before, after)


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("offset", [0.5, 0.0])
def test_sound_that_begins_later_still_does(tmp_path: Path, kind: str, offset: float) -> None:
    source = tmp_path / f"film.{kind}"
    make_clip(source, audio_offset=offset, **SMALL)
    _plan, out = make_film(source)
    before, after = facts(source), facts(out)
    assert after.sound == before.sound
    assert abs(after.sound_times[0][0] - before.sound_times[0][0]) <= Fraction(1, 1000)
    assert_same_times(before, after)


def with_extras(source: Path, target: Path, texts: str = "", cover: bool = False) -> None:
    """The film with subtitles, chapters, a title and a cover."""
    with av.open(str(source)) as film, av.open(str(target), "w") as out:
        out.metadata["title"] = "A walk"
        copies = {each.index: out.add_stream_from_template(each) for each in film.streams}
        copies[1].metadata["language"] = "deu"
        text: Any = out.add_stream(texts) if texts else None
        if text is not None:
            text.time_base = text.codec_context.time_base = Fraction(1, 1000)
            text.codec_context.subtitle_header = ASS_HEADER
        picture: Any = None
        if cover:
            picture = out.add_stream("mjpeg", rate=1)
            picture.width = picture.height = 16
            picture.pix_fmt = "yuvj420p"
            picture.disposition = 0x400
        out.set_chapters(
            [
                {"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}},
                {"id": 2, "start": 500, "end": 1200, "time_base": Fraction(1, 1000), "metadata": {"title": "Two"}},
            ]
        )
        if picture is not None:
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 90, np.uint8)).reformat(format="yuvj420p")
            frame.pts = 0
            for packet in [*picture.encode(frame), *picture.encode()]:
                out.mux(packet)
        for packet in film.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
        if text is not None:
            for number, words in enumerate((b"Hello", b"there")):
                packet = av.Packet(len(words).to_bytes(2, "big") + words if texts == "mov_text" else words)
                packet.stream, packet.time_base = text, Fraction(1, 1000)
                packet.pts = packet.dts = 400 * number
                packet.duration = 300
                out.mux(packet)


@pytest.mark.parametrize(("kind", "texts"), [("mp4", "mov_text"), ("mkv", "subrip")])
def test_subtitles_chapters_and_tags_are_copied(tmp_path: Path, kind: str, texts: str) -> None:
    plain, source = tmp_path / f"plain.{kind}", tmp_path / f"film.{kind}"
    make_clip(plain, **SMALL)
    with_extras(plain, source, texts)
    _plan, out = make_film(source)
    before, after = facts(source), facts(out)
    assert any(b"Hello" in words for words in after.texts[0])
    assert after.texts == before.texts
    with av.open(str(source)) as old, av.open(str(out)) as new:
        assert [chapter["metadata"] for chapter in new.chapters()] == [
            chapter["metadata"] for chapter in old.chapters()
        ]
        assert new.chapters()[1]["start"] * new.chapters()[1]["time_base"] == Fraction(1, 2)
        assert new.metadata["title" if "title" in new.metadata else "TITLE"] == "A walk"
        assert new.streams.audio[0].language in ("deu", "ger")


def test_texts_that_the_result_cannot_hold_are_said_to_be_lost(tmp_path: Path) -> None:
    plain, source = tmp_path / "plain.mov", tmp_path / "film.mov"
    make_clip(plain, **{**SMALL, "audio": ["mp2"]})
    with_extras(plain, source, "mov_text")
    plan, out = make_film(source)
    assert plan.ending == ".mkv"
    assert any("mov_text" in note and "not kept" in note for note in plan.notes)
    assert facts(out).texts == []


@pytest.mark.parametrize("kind", ["mp4", "mov"])
def test_sound_of_a_kind_that_nothing_holds_is_lost_alone(tmp_path: Path, kind: str) -> None:
    plain, source = tmp_path / f"plain.{kind}", tmp_path / f"film.{kind}"
    make_clip(plain, **{**SMALL, "audio": ["aac", "aac"]})
    with_extras(plain, source, "mov_text")
    # As phones write it: a second track in a format of their own.
    first, mark, second = source.read_bytes().partition(b"esds")
    source.write_bytes(first + mark + second.replace(b"mp4a", b"apac").replace(b"esds", b"free"))
    plan, out = make_film(source)
    assert plan.ending == f".{kind}"
    assert [note for note in plan.notes if "not kept" in note] == ["stream 2 (audio, unknown) is not kept"]
    before, after = facts(source), facts(out)
    assert after.sound == before.sound[:1]
    assert after.texts == before.texts


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_a_cover_is_kept_and_not_taken_for_the_film(tmp_path: Path, kind: str) -> None:
    plain, source = tmp_path / "plain.mp4", tmp_path / f"film.{kind}"
    make_clip(plain, **SMALL)
    if kind == "mp4":
        with_extras(plain, source, cover=True)
    else:
        with_attached_cover(plain, source)
    plan, out = make_film(source)
    assert [track.kind for track in plan.source.tracks if track.codec == "mjpeg"] == ["cover"]
    assert (plan.source.width, plan.source.height) == (32, 32)
    with av.open(str(source)) as old, av.open(str(out)) as new:
        assert cover_of(new) == cover_of(old) != b""


def with_attached_cover(source: Path, target: Path) -> None:
    picture: Any = av.CodecContext.create("mjpeg", "w")
    picture.width = picture.height = 16
    picture.pix_fmt, picture.time_base = "yuvj420p", Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 90, np.uint8)).reformat(format="yuvj420p")
    frame.pts = 0
    data = bytes(picture.encode(frame)[0])
    with av.open(str(source)) as film, av.open(str(target), "w") as out:
        copies = {each.index: out.add_stream_from_template(each) for each in film.streams}
        out.add_attachment("cover.jpg", "image/jpeg", data)
        for packet in film.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)


def cover_of(container: Any) -> bytes:
    covers = [each for each in container.streams.video if each.disposition & 0x400]
    return next((bytes(packet) for packet in container.demux(covers) if packet.size), b"") if covers else b""


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_rotation_is_kept(tmp_path: Path, kind: str, rotation: int) -> None:
    source = tmp_path / f"film.{kind}"
    make_clip(source, frames=3, size=(64, 32), audio=[], rotation=rotation)
    plan, out = make_film(source)
    assert abs(facts(out).rotation) == abs(rotation)
    assert facts(out).rotation == facts(source).rotation
    assert facts(out).sizes == {(64, 32)}
    assert any("degrees" in note for note in plan.notes)


def test_a_time_code_is_lost_and_said_to_be(tmp_path: Path) -> None:
    plain, source = tmp_path / "plain.mov", tmp_path / "film.mov"
    make_clip(plain, **SMALL)
    with av.open(str(plain)) as film, av.open(str(source), "w") as out:
        copies = [out.add_stream_from_template(each) for each in film.streams]
        copies[0].metadata["timecode"] = "01:00:00:00"
        copies[0].set_display_rotation(90)
        for packet in film.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    plan, result = make_film(source)
    assert [track.kind for track in plan.source.tracks] == ["audio", "data"]
    assert any("stream 2 (data" in note and "not kept" in note for note in plan.notes)
    before, after = facts(source), facts(result)
    assert (after.rotation, after.sound) == (before.rotation, before.sound) == (90, before.sound)
    assert_same_times(before, after)


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_pixel_shape_and_colour_tags_are_kept(tmp_path: Path, kind: str) -> None:
    source = tmp_path / f"film.{kind}"
    tags = {"color_primaries": 1, "color_trc": 13, "colorspace": 1, "color_range": 2}
    context = {**tags, "sample_aspect_ratio": Fraction(4, 3)}
    make_clip(source, frames=3, size=(64, 48), audio=[], context=context)
    _plan, out = make_film(source)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        frame = next(container.decode(stream))
        found = (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range)
        assert found == tuple(tags.values())


def test_ten_bits_and_interlacing_are_noted_and_become_eight_bits_and_whole_frames(tmp_path: Path) -> None:
    deep, laced = tmp_path / "deep.mp4", tmp_path / "laced.mp4"
    make_clip(deep, frames=3, size=(64, 48), audio=[], pixel_format="yuv420p10le")
    options = {"flags": "+ilme+ildct", "x264-params": "tff=1"}
    make_clip(laced, frames=3, size=(64, 64), audio=[], options=options)
    plan, out = make_film(deep)
    assert any("10 bits" in note for note in plan.notes)
    with av.open(str(out)) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p"
    assert any("interlaced" in note for note in plan_film(laced, OPTIONS, LIMITS).notes)


def test_options_go_into_the_plan(tmp_path: Path) -> None:
    make_clip(tmp_path / "film.mp4", audio=[], **SMALL)
    options = FilmOptions(style="great-wave", quality="fast", scale=0.5, strength=0.7)
    assert plan_film(tmp_path / "film.mp4", options, LIMITS).options == options


def test_sound_that_begins_before_the_picture_does_not_move_it_in_matroska(tmp_path: Path) -> None:
    make_clip(tmp_path / "film.mp4", audio=["aac", "vorbis"], **SMALL)
    plan, out = make_film(tmp_path / "film.mp4")
    before, after = facts(tmp_path / "film.mp4"), facts(out)
    assert plan.ending == ".mkv"
    assert before.sound_times[0][0] < 0
    assert abs(after.sound_times[0][0] - before.sound_times[0][0]) <= Fraction(1, 1000)
    assert after.sound == before.sound
    assert_same_times(before, after)
