"""A segment is made by three threads that end together, and a film is joined from whole segments alone."""

import threading
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest

from models.errors import BadInput, TryLater
from tests.unit.films import LIMITS, OPTIONS, Same, facts
from video.clip import make_clip
from video.decode import frames_between
from video.join import join_film
from video.pipe import Closed, Pipe
from video.plan import plan_film
from video.segment import SegmentFile, Stopped, make_segment


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    make_clip(path, frames=50, size=(64, 48), options={"g": "12"})
    return path


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Any:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


class Failing(Same):
    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__()
        self._left, self._error = at, error

    def __call__(self, pictures: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return pictures


@pytest.mark.parametrize("at", [0, 1, 5])
def test_an_error_of_the_network_ends_all_threads_and_comes_out_as_raised(film: Path, at: int) -> None:
    error = BadInput("the network made numbers that are not finite")
    plan = plan_film(film, OPTIONS, LIMITS)
    with pytest.raises(BadInput) as raised:
        make_segment(film, plan, 0, Failing(at, error))
    assert raised.value is error


def test_a_plan_says_where_decoding_up_to_segments_takes_the_time(tmp_path: Path, film: Path) -> None:
    one_key = tmp_path / "one_key.mp4"
    make_clip(one_key, frames=50, size=(64, 48), options={"x264-params": "keyint=infinite:scenecut=0"})
    # Before each of 25 segments: 0, 2, 4, ... 48 frames, 600 in all, besides the 50.
    note = "its key frames are far apart: to make all segments, 13 times its frames are decoded"
    assert note in plan_film(one_key, OPTIONS, LIMITS, segment_frames=2).notes
    for path, frames in ((one_key, 10), (film, 2)):
        assert not [each for each in plan_film(path, OPTIONS, LIMITS, segment_frames=frames).notes if "far" in each]


def test_an_error_of_the_encoder_comes_out(film: Path) -> None:
    plan = plan_film(film, OPTIONS, LIMITS)
    wrong = msgspec.structs.replace(plan, encoder=msgspec.structs.replace(plan.encoder, pixel_format="rgb565le"))
    with pytest.raises(av.FFmpegError):
        make_segment(film, wrong, 0, Same())


def test_an_error_of_the_decoder_comes_out(tmp_path: Path, film: Path) -> None:
    plan = plan_film(film, OPTIONS, LIMITS)
    with pytest.raises(FileNotFoundError):
        make_segment(tmp_path / "gone.mp4", plan, 0, Same())


def test_pictures_of_another_shape_are_refused(film: Path) -> None:
    class Half(Same):
        def __call__(self, pictures: Any) -> Any:
            return pictures[:, ::2, ::2]

    plan = plan_film(film, OPTIONS, LIMITS)
    with pytest.raises(BadInput, match=r"shape \(2, 24, 32, 3\).*\(2, 48, 64, 3\)"):
        make_segment(film, plan, 0, Half())


def test_a_stop_ends_the_work_within_a_batch(film: Path) -> None:
    stopped = threading.Event()
    calls = []

    class Stopping(Same):
        def __call__(self, pictures: Any) -> Any:
            calls.append(len(pictures))
            if len(calls) == 3:
                stopped.set()
            return pictures

    with pytest.raises(Stopped):
        make_segment(film, plan_film(film, OPTIONS, LIMITS), 0, Stopping(), stopped=stopped)
    assert len(calls) == 3


def test_a_stop_before_the_first_frame_is_noticed(film: Path) -> None:
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Stopped):
        make_segment(film, plan_film(film, OPTIONS, LIMITS), 0, Same(), stopped=stopped)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_a_segment_is_the_same_to_the_byte_whoever_makes_it_and_however_often(film: Path, batch: int) -> None:
    plan = plan_film(film, OPTIONS, LIMITS, segment_frames=20)
    assert make_segment(film, plan, 1, Same(batch)) == make_segment(film, plan, 1, Same(2))


def test_progress_counts_frames_up_to_the_last(film: Path) -> None:
    seen: list[int] = []
    make_segment(film, plan_film(film, OPTIONS, LIMITS, segment_frames=7), 0, Same(3), progress=seen.append)
    assert seen == [3, 6, 7]


def test_what_the_network_makes_is_what_the_film_shows(tmp_path: Path, film: Path) -> None:
    class Inverse(Same):
        def __call__(self, pictures: Any) -> Any:
            return 255 - pictures

    plan = plan_film(film, OPTIONS, LIMITS)
    segment = tmp_path / "0.segment"
    segment.write_bytes(make_segment(film, plan, 0, Inverse()))
    join_film(film, plan, [segment], tmp_path / "out.mp4")
    before, after = facts(film).pictures[10].astype(int), facts(tmp_path / "out.mp4").pictures[10].astype(int)
    assert np.abs((16 + 235 - before) - after).mean() < 6


@pytest.fixture
def parts(tmp_path: Path, film: Path) -> tuple[Any, list[Path]]:
    plan = plan_film(film, OPTIONS, LIMITS, segment_frames=20)
    paths = [tmp_path / f"{index}.segment" for index in range(len(plan.segments))]
    for index, path in enumerate(paths):
        path.write_bytes(make_segment(film, plan, index, Same()))
    return plan, paths


def test_a_join_refuses_a_set_that_is_not_whole_and_leaves_nothing(tmp_path: Path, film: Path, parts: Any) -> None:
    plan, paths = parts
    out = tmp_path / "out.mp4"
    with pytest.raises(BadInput, match="expected 3 segments, got 2"):
        join_film(film, plan, paths[:2], out)
    with pytest.raises(BadInput, match="expected segment 0"):
        join_film(film, plan, [paths[1], paths[0], paths[2]], out)
    paths[1].write_bytes(paths[1].read_bytes()[:-10])
    with pytest.raises(BadInput, match="segment 1 cannot be read"):
        join_film(film, plan, paths, out)
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_a_join_refuses_segments_of_another_plan_or_encoder(tmp_path: Path, film: Path, parts: Any) -> None:
    plan, paths = parts
    with pytest.raises(BadInput, match="of plan"):
        join_film(film, msgspec.structs.replace(plan, style_version="2"), paths, tmp_path / "out.mp4")
    file = msgspec.msgpack.decode(paths[2].read_bytes(), type=SegmentFile)
    paths[2].write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(file, header=b"other")))
    with pytest.raises(BadInput, match="other headers"):
        join_film(film, plan, paths, tmp_path / "out.mp4")


def test_a_second_join_writes_the_same_film_over_the_first(tmp_path: Path, film: Path, parts: Any) -> None:
    plan, paths = parts
    out = tmp_path / "out.mp4"
    first = join_film(film, plan, paths, out)
    data = out.read_bytes()
    assert join_film(film, plan, paths, out) == first
    assert out.read_bytes() == data
    assert first.frames == 50


def test_a_film_may_have_a_name_as_long_as_names_can_be(tmp_path: Path, film: Path, parts: Any) -> None:
    plan, paths = parts
    out = tmp_path / f"{'x' * 251}.mp4"
    assert join_film(film, plan, paths, out).size_bytes == out.stat().st_size


def test_a_place_where_nothing_can_be_written_is_no_fault_of_the_film(tmp_path: Path, film: Path, parts: Any) -> None:
    plan, paths = parts
    with pytest.raises(FileNotFoundError):
        join_film(film, plan, paths, tmp_path / "none" / "out.mp4")


def test_each_side_of_a_pipe_is_woken_when_the_other_gives_up() -> None:
    pipe: Pipe[int] = Pipe(1)
    pipe.put(1)
    woken = []

    def put() -> None:
        try:
            pipe.put(2)
        except Closed:
            woken.append("put")

    thread = threading.Thread(target=put)
    thread.start()
    pipe.abandon()
    thread.join()
    assert woken == ["put"]
    with pytest.raises(Closed):
        list(pipe)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_no_fault_of_the_film(film: Path, parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, paths = parts
    monkeypatch.setattr("video.join._output", lambda path, plan: av.open("/dev/full", "w", format="matroska"))
    with pytest.raises(TryLater, match="No space left"):
        join_film(film, plan, paths, paths[0].with_name("out.mp4"))


def test_pictures_reach_the_network_as_decoded_and_pass_through_no_file(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []

    class Watching(Same):
        def __call__(self, pictures: Any) -> Any:
            seen.extend(each.tobytes() for each in pictures)
            return pictures

    monkeypatch.chdir(tmp_path)
    plan = plan_film(film, OPTIONS, LIMITS, segment_frames=20)
    make_segment(film, plan, 1, Watching(3))
    assert seen == [frame.picture.tobytes() for frame in frames_between(film, plan, plan.segments[1])]
    assert list(tmp_path.iterdir()) == []
    assert [path.name for path in film.parent.iterdir()] == [film.name]
