"""Files that are no films, or not whole, or too large: refused with a reason that a person understands."""

import random
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from models.contracts.film import FilmOptions, Limits
from models.errors import BadInput
from tests.unit.films import LIMITS, OPTIONS, Same
from video.clip import make_clip
from video.plan import plan_film
from video.probe import probe
from video.segment import make_segment


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    make_clip(path, frames=60, size=(64, 48), options={"g": "12"})
    return path


def refusal(path: Path, limits: Limits = LIMITS, options: FilmOptions = OPTIONS) -> str:
    with pytest.raises(BadInput) as refused:
        plan_film(path, options, limits)
    return str(refused.value)


def test_a_text_named_as_a_film_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_text("Once upon a time " * 1000)
    assert "not a film that can be read" in refusal(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    assert "empty" in refusal(tmp_path / "film.mp4")


def test_a_playlist_cannot_make_a_worker_open_other_files(tmp_path: Path, film: Path) -> None:
    for name, text in {
        "list.mp4": f"ffconcat version 1.0\nfile '{film}'\n",
        "live.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{film}\n#EXT-X-ENDLIST\n",
    }.items():
        path = tmp_path / name
        path.write_text(text)
        assert "not a film that can be read" in refusal(path)


def test_a_name_is_never_taken_for_an_address_or_a_pattern(tmp_path: Path, film: Path) -> None:
    for name in ("http:film.mp4", "concat:a|b.mp4", "%05d film;$(touch x)'.mp4", "-i.mp4", "film:ü\n.mp4"):
        path = tmp_path / name
        path.write_bytes(film.read_bytes())
        assert probe(path, LIMITS).width == 64


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("aac", rate=48_000, layout="stereo")
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        frame.sample_rate, frame.pts = 48_000, 0
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    assert "sound but no pictures" in refusal(path)


def test_a_song_with_a_cover_is_no_film(tmp_path: Path, film: Path) -> None:
    song, bare = tmp_path / "song.mp4", tmp_path / "bare.mp4"
    with av.open(str(film)) as source, av.open(str(song), "w") as out:
        sound = out.add_stream_from_template(source.streams.audio[0])
        cover: Any = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 32, 32, "yuvj420p", 0x400
        frame = av.VideoFrame(32, 32, "yuvj420p")
        frame.pts = 0
        for packet in [*cover.encode(frame), *cover.encode()]:
            out.mux(packet)
        for packet in source.demux(audio=0):
            if packet.size:
                packet.stream = sound
                out.mux(packet)
    assert "sound but no pictures" in refusal(song)
    with av.open(str(bare), "w", format="wav") as out:
        stream: Any = out.add_stream("pcm_s16le", rate=48_000, layout="stereo")
        silence = av.AudioFrame(format="s16", layout="stereo", samples=4800)
        silence.sample_rate = 48_000
        out.mux(stream.encode(silence))
    assert "its kind is not taken" in refusal(bare)


def test_a_film_without_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        out.start_encoding()
    assert "not a film that can be read" in refusal(path)


@pytest.mark.parametrize(("size", "codec"), [((1, 1), "ffv1"), ((16384, 32), "ffv1"), ((8, 640), "ffv1")])
def test_pictures_too_small_or_too_large_are_refused(tmp_path: Path, size: tuple[int, int], codec: str) -> None:
    path = tmp_path / "film.mkv"
    make_clip(path, frames=1, size=size, codec=codec, audio=[])
    assert f"{size[0]}x{size[1]}" in refusal(path)


def test_a_header_that_claims_16_k_pixels_is_not_believed(tmp_path: Path, film: Path) -> None:
    data = film.read_bytes()
    at = data.index(b"tkhd")
    sample = data.index(b"avc1", data.index(b"stsd"))
    claimed = bytearray(data)
    claimed[sample + 28 : sample + 32] = struct.pack(">HH", 16384, 16384)
    claimed[at + 80 : at + 88] = struct.pack(">II", 16384 << 16, 16384 << 16)
    (tmp_path / "film.mp4").write_bytes(claimed)
    # The stream's own header counts.
    assert plan_film(tmp_path / "film.mp4", OPTIONS, LIMITS).source.width == 64


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_seconds=1.0), "lasts 2 s, at most 1 s"),
        (Limits(max_bytes=1000), "at most 1,000"),
        (Limits(max_frames=59), "more than 59 frames"),
        (Limits(max_pixels=64 * 47), "at most 3,008 pixels"),
        (Limits(max_side=63), "63 a side"),
    ],
)
def test_limits_refuse_what_is_beyond_them(film: Path, limits: Limits, words: str) -> None:
    assert words in refusal(film, limits)


def test_a_wanted_size_is_held_to_the_limits(film: Path) -> None:
    assert "8x8" in refusal(film, options=FilmOptions(style="none", size="8x8"))
    assert "99999x99999" in refusal(film, options=FilmOptions(style="none", size="99999x99999"))


def test_hours_that_only_times_claim_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    make_clip(path, times=[0, 1000, 400_000_000], time_base=Fraction(1, 1000), fps=1, size=(32, 32), audio=[])
    assert "lasts" in refusal(path)


def test_what_a_reader_says_of_a_film_is_not_taken_for_what_a_disk_says(tmp_path: Path) -> None:
    path = tmp_path / "film.asf"
    make_clip(path, frames=10, size=(64, 48), codec="wmv2", audio=["mp2"])
    # The mark of a stream that is sound: without it the reader says "operation not permitted".
    path.write_bytes(path.read_bytes().replace(bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b"), bytes(16)))
    assert "not a film that can be read" in refusal(path)
    # Cut where the reader says "input/output error".
    cut = tmp_path / "film.mkv"
    make_clip(cut, frames=3, size=(64, 48), audio=[])
    cut.write_bytes(cut.read_bytes()[:80])
    assert "Input/output error" in refusal(cut)
    with pytest.raises(FileNotFoundError):
        plan_film(tmp_path / "none.mp4", OPTIONS, LIMITS)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm", "avi"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_film_whose_end_is_missing_is_refused_or_planned_as_far_as_it_goes(
    tmp_path: Path, kind: str, share: float
) -> None:
    path = tmp_path / f"film.{kind}"
    make_clip(
        path, frames=60, size=(64, 48), codec="vp9" if kind == "webm" else "h264", audio=[], options={"g": "12"}
    )
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    works(path)


def test_a_film_that_was_cut_before_its_index_is_said_to_be_cut(tmp_path: Path, film: Path) -> None:
    path, whole = tmp_path / "film.mp4", film.read_bytes()
    index = whole.index(b"moov")
    for size in (40, index // 2, index - 4):
        path.write_bytes(whole[:size])
        assert refusal(path).endswith("its index (moov) is missing; was it cut short? copy it again"), size
    path.write_text("no film at all")
    assert "cut short" not in refusal(path)


def works(path: Path) -> bool:
    """Whether a film could be made; anything but a reason why not fails the test."""
    limits = Limits(max_pixels=1_000_000, max_frames=5000, max_seconds=1000)
    try:
        plan = plan_film(path, OPTIONS, limits, segment_frames=30)
        for index in range(len(plan.segments)):
            make_segment(path, plan, index, Same(4))
    except BadInput:
        return False
    return True


def test_damage_in_the_middle_fails_the_segment_with_place_and_reason(tmp_path: Path, film: Path) -> None:
    plan = plan_film(film, OPTIONS, LIMITS, segment_frames=12)
    data = bytearray(film.read_bytes())
    with av.open(str(film)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        hit = [packet for packet in packets if packet.is_keyframe][2]
        assert hit.pos is not None
        data[hit.pos : hit.pos + hit.size] = bytes(hit.size)
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    outcomes = []
    for index in range(len(plan.segments)):
        try:
            make_segment(path, plan, index, Same())
            outcomes.append("")
        except BadInput as refused:
            outcomes.append(str(refused))
    assert outcomes[:2] == ["", ""]
    assert "damaged" in outcomes[2]
    assert "0.96 s" in outcomes[2]


def test_a_film_that_was_cut_after_the_plan_is_noticed(tmp_path: Path, film: Path) -> None:
    plan = plan_film(film, OPTIONS, LIMITS)
    path = tmp_path / "film.mp4"
    make_clip(path, frames=30, size=(64, 48), options={"g": "12"})
    with pytest.raises(BadInput, match="30 could be decoded"):
        make_segment(path, plan, 0, Same())


@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm", "avi"])
def test_mutated_bytes_never_do_more_than_fail_with_a_reason(tmp_path: Path, kind: str) -> None:
    whole = tmp_path / f"whole.{kind}"
    codec = {"webm": "vp9", "avi": "mpeg4"}.get(kind, "h264")
    make_clip(whole, frames=12, size=(32, 32), codec=codec, audio=[], options={"g": "6"})
    data = whole.read_bytes()
    chance = random.Random(kind)
    path = tmp_path / f"film.{kind}"
    made = 0
    for _ in range(60):
        mutated = bytearray(data)
        for _ in range(chance.choice((1, 3, 20))):
            at = chance.randrange(len(mutated))
            mutated[at] = chance.choice((0, 255, mutated[at] ^ 1 << chance.randrange(8), chance.randrange(256)))
        if chance.random() < 0.2:
            del mutated[chance.randrange(len(mutated)) :]
        path.write_bytes(mutated)
        made += works(path)
    assert 0 < made < 60
