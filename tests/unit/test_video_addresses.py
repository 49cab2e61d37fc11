"""Upload addresses of `/api/videos`: what is put twice, replaced or cancelled, and all of that at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions.videos.sweep import VideoSweeper
from models.contracts.videos import VideoState
from models.errors import TryLater
from models.ports import BlobInfo
from tests.unit.studio import Studio
from tests.unit.videohttp import call


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


@pytest.mark.parametrize("steps", range(4))
def test_a_film_that_is_put_again_before_it_is_done_is_made_by_the_later_job(studio: Studio, steps: int) -> None:
    _, accepted, _ = call(studio, "POST")
    first = studio.blobs.replace(accepted["blob"], b"abcd")
    studio.intake.receive(studio.event(first))
    _, replaced, _ = call(studio, "GET", f"videos/{accepted['id']}")
    studio.run(steps - 1)
    second = studio.blobs.replace(accepted["blob"], b"efgh")
    studio.run(1 if steps else 0)  # the worker may see it first
    studio.intake.receive(studio.event(second))
    assert studio.intake.start(first) is False  # told late of what is not there any more
    _, job, _ = call(studio, "GET", f"videos/{accepted['id']}")
    assert job["id"] != replaced["id"]
    if not steps:
        _, ended, _ = call(studio, "GET", f"videos/{replaced['id']}")
        assert (ended["state"], ended["error"].split(", which ")[1]) == ("failed", f"is video {job['id']}")
    studio.run()
    _, job, _ = call(studio, "GET", f"videos/{accepted['id']}")
    assert (job["state"], job["error"]) == ("done", "")
    assert studio.blobs.get(job["result"]).data == b"EFGH"
    assert [each.id for each in studio.videos.latest() if each.state != VideoState.FAILED] == [job["id"]]


def test_a_film_that_is_put_again_when_it_is_done_is_left_alone(studio: Studio) -> None:
    _, accepted, _ = call(studio, "POST")
    studio.intake.receive(studio.event(studio.blobs.replace(accepted["blob"], b"abcd")))
    studio.run()
    second = studio.blobs.replace(accepted["blob"], b"efgh")
    assert not studio.intake.start(second)
    assert studio.sweeper.sweep().started == 0
    _, job, _ = call(studio, "GET", f"videos/{accepted['id']}")
    assert studio.blobs.get(job["result"]).data == b"ABCD"
    assert len(studio.videos.latest()) == 1


def test_a_version_that_was_replaced_before_it_was_noticed_takes_nothing_over(studio: Studio) -> None:
    _, accepted, _ = call(studio, "POST")
    studio.intake.start(studio.blobs.replace(accepted["blob"], b"abcd"))
    passed_over = studio.blobs.replace(accepted["blob"], b"efgh")
    last = studio.blobs.replace(accepted["blob"], b"ijkl")
    assert not studio.intake.start(passed_over)
    assert studio.intake.start(last)
    assert not studio.intake.start(passed_over)
    studio.run()
    _, job, _ = call(studio, "GET", f"videos/{accepted['id']}")
    assert studio.blobs.get(job["result"]).data == b"IJKL"
    assert len(studio.videos.latest()) == 2


def test_a_film_that_failed_can_be_put_again_and_a_cancelled_one_cannot(studio: Studio) -> None:
    for cancelled in (False, True):
        _, accepted, _ = call(studio, "POST")
        studio.intake.receive(studio.event(studio.blobs.replace(accepted["blob"], b"")))
        studio.run()
        if cancelled:
            assert call(studio, "DELETE", f"videos/{accepted['id']}")[1]["state"] == "failed"
        studio.intake.receive(studio.event(studio.blobs.replace(accepted["blob"], b"efgh")))
        studio.run()
        _, job, _ = call(studio, "GET", f"videos/{accepted['id']}")
        assert job["state"] == ("failed" if cancelled else "done")


def at_the_opening(studio: Studio, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen once, when a job is about to be opened."""
    real, waiting = studio.videos.open, [happens]

    def open(*given: Any, **more: Any) -> bool:
        while waiting:
            waiting.pop()()
        return real(*given, **more)

    monkeypatch.setattr(studio.videos, "open", open)


def test_of_two_versions_that_are_noticed_at_once_the_one_that_is_there_is_made(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, accepted, _ = call(studio, "POST")
    first = studio.blobs.replace(accepted["blob"], b"abcd")
    at_the_opening(studio, monkeypatch, lambda: studio.intake.start(studio.blobs.replace(accepted["blob"], b"efgh")))
    studio.intake.start(first)
    _, job, _ = call(studio, "GET", f"videos/{accepted['id']}")
    (replaced,) = [each for each in studio.videos.latest() if each.id != job["id"]]
    assert replaced.state == VideoState.FAILED  # at once, not by a worker
    assert replaced.error.endswith(f"is video {job['id']}")
    studio.run()
    _, job, _ = call(studio, "GET", f"videos/{accepted['id']}")
    assert studio.blobs.get(job["result"]).data == b"EFGH"


@pytest.mark.parametrize("dies", [False, True])
def test_cancelling_is_heard_while_the_job_is_opened(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    _, accepted, _ = call(studio, "POST")
    said: list[Any] = []
    at_the_opening(studio, monkeypatch, lambda: said.append(call(studio, "DELETE", f"videos/{accepted['id']}")))
    info = studio.blobs.replace(accepted["blob"], b"abcd")
    if dies:  # once the job is opened
        with monkeypatch.context() as patched:
            patched.setattr(studio.work.queue, "send", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                studio.intake.start(info)
        assert studio.videos.unfinished() != []
        studio.sweeper.sweep()
    else:
        studio.intake.start(info)
    assert [(status, answer["state"]) for status, answer, _ in said] == [(200, "cancelled")]
    studio.run()
    assert call(studio, "GET", f"videos/{accepted['id']}")[1]["state"] == "cancelled"
    assert studio.videos.unfinished() == []
    assert list(studio.blobs.list("videos-out/")) == []


@pytest.mark.parametrize("noticed", [False, True])
def test_a_film_that_came_to_a_cancelled_upload_never_starts_a_job(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, noticed: bool
) -> None:
    _, accepted, _ = call(studio, "POST")
    call(studio, "DELETE", f"videos/{accepted['id']}")
    studio.blobs.replace(accepted["blob"], b"abcd")
    if noticed:
        assert studio.sweeper.sweep().started == 0
    studio.clock.advance(86_400 + 901)
    listed = studio.blobs.list
    with monkeypatch.context() as patched:
        patched.setattr(studio.blobs, "list", lambda prefix: listed(prefix) if prefix != "videos-in/" else fail())
        studio.sweeper.sweep()
    restarted = VideoSweeper(studio.work, studio.intake, max_age=timedelta(hours=1))
    assert restarted.sweep().started == 0
    assert call(studio, "GET", f"videos/{accepted['id']}")[1]["state"] == "cancelled"
    assert studio.videos.latest() == []


def fail() -> Iterator[BlobInfo]:
    raise TryLater("InternalServerError")
