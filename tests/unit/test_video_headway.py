"""What is told of a step while it is in work: to its worker, and to whoever waits for the film."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from functions.videos.queries import status_of
from models.contracts.videos import VideoJob, VideoMessage, VideoState
from models.errors import TryLater
from tests.unit.studio import Studio, TextPipeline
from video.worker.headway import Labour, Watch


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the time by which a watch looks and reports."""
    now = [100.0]
    monkeypatch.setattr("video.worker.headway.time.monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_a_step_that_computes_beats_until_its_job_is_over_and_one_that_waits_does_not(studio: Studio) -> None:
    job = studio.start()
    used_s = 0.0
    stopped = threading.Event()
    labour = Labour(studio.work, job.id, stopped, lambda: used_s)
    assert not labour()
    used_s += 0.5
    assert labour()
    assert not labour()
    used_s += 0.5
    assert not stopped.is_set()
    studio.work.cancel(job.id)
    assert not labour()
    assert stopped.is_set()


@pytest.mark.parametrize("step", ["plan", "segment", "join"])
def test_every_step_beats_however_long_it_computes_and_says_nothing(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """As when a segment is far from the key frame before it, or its network is built for a GPU."""
    monkeypatch.setattr("video.worker.headway._LOOK_EVERY_S", 0.05)
    beaten = threading.Event()
    heard: list[bool] = []
    studio.start()
    studio.run({"plan": 0, "segment": 1, "join": 4}[step])

    def long() -> None:
        beaten.clear()  # what was heard before does not count
        until = time.monotonic() + 10
        while not beaten.is_set() and time.monotonic() < until:
            sum(range(10_000))
        heard.append(beaten.is_set())

    studio.steps.beat = beaten.set
    studio.pipeline.during = long
    studio.run(1)
    assert heard == [True]


def test_a_segment_whose_job_ends_is_stopped_before_its_first_frame(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video.worker.headway._LOOK_EVERY_S", 0.05)
    job = planned(studio)

    class Searching(TextPipeline):
        def segment(self, *_: Any, stopped: threading.Event, **__: Any) -> bytes:
            studio.work.cancel(job.id)
            if not stopped.wait(10):
                raise TimeoutError
            raise InterruptedError

    studio.steps.pipeline = Searching()
    assert "ended meanwhile" in studio.run(1)[0]


# Frames of segments in work. The film has ten, in segments of 4, 4 and 2.


def planned(studio: Studio) -> VideoJob:
    job = studio.start()
    studio.run(1)
    return studio.videos.get(job.id)


def make(studio: Studio, job: VideoJob, segment: int) -> None:
    studio.steps.do(VideoMessage(kind="segment", job=job.id, segment=segment))


def test_frames_of_a_segment_in_work_count_and_those_of_a_try_that_begins_anew_lower_nothing(studio: Studio) -> None:
    job = planned(studio)
    assert job.in_work is msgspec.UNSET
    counts = []
    for segment, frames in ((0, 1), (0, 3), (1, 2), (0, 1), (0, 2), (0, 4)):
        studio.clock.advance(5)
        counts.append(studio.work.report(job.id, segment, frames).frames_done)
    assert counts == [1, 3, 5, 5, 5, 6]
    now = studio.videos.get(job.id)
    assert (now.in_work, now.moved_at) == ({0: 4, 1: 2}, studio.clock.now())
    make(studio, job, 0)
    now = studio.videos.get(job.id)
    assert (now.segments_done, now.frames_done, now.in_work) == (1, 6, {1: 2})
    assert status_of(now, studio.clock).eta_s == pytest.approx(4 * 30 / 6)
    studio.run()
    done = studio.videos.get(job.id)
    assert (done.state, done.frames_done, done.in_work) == (VideoState.DONE, 10, msgspec.UNSET)
    assert studio.work.report(job.id, 0, 4) == done


@given(events=some.lists(some.tuples(some.integers(0, 2), some.integers(1, 4), some.booleans()), max_size=12))
def test_frames_never_go_back_and_never_beyond_the_film_whatever_comes_twice_or_late(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, int, bool]]
) -> None:
    studio = Studio(tmp_path_factory.mktemp("film"))
    job = planned(studio)
    before = 0
    for segment, frames, whole in events:
        if whole:
            make(studio, job, segment)
        else:
            studio.work.report(job.id, segment, min(frames, (4, 4, 2)[segment]))
        now = studio.videos.get(job.id).frames_done
        assert before <= now <= 10
        before = now
    for segment in range(3):
        make(studio, job, segment)
    assert studio.videos.get(job.id).frames_done == 10


def test_a_watch_beats_each_time_and_reports_every_five_seconds_at_most(
    studio: Studio, clock: Callable[[float], None]
) -> None:
    job = planned(studio)
    beats: list[None] = []
    watch = Watch(studio.work, job.id, 1, lambda: beats.append(None))
    written = []
    for frames in range(1, 41):
        clock(0.25)
        watch.progress(frames)
        written.append(studio.videos.get(job.id).frames_done)
    assert len(beats) == 40
    assert sorted(set(written)) == [0, 10]
    assert studio.videos.get(job.id).in_work == {1: 40}


def test_a_watch_goes_on_while_the_record_does_not_answer(
    studio: Studio, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = planned(studio)
    watch = Watch(studio.work, job.id, 1, lambda: None)

    def away(*_: object) -> None:
        raise TryLater("the state store is away")

    with monkeypatch.context() as patched:
        patched.setattr(studio.state, "get", away)
        clock(6)
        watch.progress(2)
    assert not watch.stopped.is_set()
    clock(6)
    watch.progress(3)
    assert studio.videos.get(job.id).frames_done == 3
    studio.work.cancel(job.id)
    clock(6)
    watch.progress(4)
    assert watch.stopped.is_set()
