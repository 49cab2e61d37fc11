"""Films through real storage, a functions host and worker processes, some of which are killed."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from infra.cli import video
from infra.local.azurite import running_azurite
from models.contracts.videos import VideoJob, VideoState
from models.errors import BadInput, NotFound
from models.videos import job_id
from tests.integration.filming import Set, pictures
from tests.waiting import wait_for
from video.clip import make_clip

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

FRAMES = 60
SEGMENTS = 20
OPTIONS = {"style": "inverted", "quality": "fast"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    # An account of its own: the names of queues are fixed.
    folder = tmp_path_factory.mktemp("films")
    with running_azurite(folder / "azurite") as azurite:
        made = Set(azurite, folder)
        yield made
        made.close()


@pytest.fixture(scope="module")
def clip(scene: Set) -> Path:
    path = scene.folder / "clip.mp4"
    make_clip(path, frames=FRAMES, fps=24, size=(96, 54))
    return path


_numbers = itertools.count()


@pytest.fixture
def submit(scene: Set, clip: Path) -> Callable[..., str]:
    def put(file: Path = clip, events: int = 1, **options: str) -> str:
        """The job of a film that was put into storage, of which events tell."""
        name = f"videos-in/film {next(_numbers)}.mp4"
        info = scene.blobs.upload(name, file, metadata={**OPTIONS, **options})
        for _ in range(events):
            scene.tell(name)
        return job_id(info, {**OPTIONS, **options})

    return put


@pytest.fixture(scope="module")
def undisturbed(scene: Set, clip: Path) -> tuple[list[int], np.ndarray]:
    """What every run has to come to."""
    info = scene.blobs.upload("videos-in/undisturbed.mp4", clip, metadata=OPTIONS)
    with scene.host(), scene.workers():
        return film(scene, scene.ended(job_id(info, OPTIONS)))


def film(scene: Set, job: VideoJob) -> tuple[list[int], np.ndarray]:
    assert (job.state, job.error) == (VideoState.DONE, "")
    assert (job.segments, job.segments_done, job.frames_done) == (SEGMENTS, SEGMENTS, FRAMES)
    scene.blobs.download(job.result, scene.folder / "result.mp4")
    wait_for(lambda: not list(scene.blobs.list(f"videos-work/{job.id}/")))
    return pictures(scene.folder / "result.mp4")


def same(one: tuple[list[int], np.ndarray], other: tuple[list[int], np.ndarray]) -> bool:
    return one[0] == other[0] and np.array_equal(one[1], other[1])


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Of all its threads."""
    texts = [task.read_text() for task in Path(f"/proc/{process.pid}/task").glob("*/children")]
    return [int(child) for text in texts for child in text.split()]


def is_alive(pid: int) -> bool:
    """Whether it runs: one that has ended may stay listed for a while."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_film_is_asked_for_put_with_plain_http_made_and_fetched(
    scene: Set, clip: Path, undisturbed: tuple[list[int], np.ndarray]
) -> None:
    with scene.host() as api, scene.workers() as workers:
        asked = api.post("videos", json={"name": "my 'film'.mp4", **OPTIONS})
        assert asked.status_code == 201
        upload = asked.json()
        put = ["curl", "-sf", "-T", str(clip), "-H", "x-ms-blob-type: BlockBlob", upload["upload_url"]]
        subprocess.run(put, check=True, capture_output=True)

        def done() -> dict | None:
            status = api.get(f"videos/{upload['id']}").json()
            assert status["state"] not in ("failed", "cancelled"), status
            return status if status["state"] == "done" else None

        status = wait_for(done)
        assert (status["frames"], status["frames_done"], status["name"]) == (FRAMES, FRAMES, "my 'film'.mp4")
        (scene.folder / "fetched.mp4").write_bytes(httpx.get(status["download_url"]).content)
        made = pictures(scene.folder / "fetched.mp4")
        assert same(made, undisturbed)
        _, source = pictures(clip)
        # Lossy both ways, but an opposite all the same.
        assert np.abs(255 - source.astype(int) - made[1]).mean() < 8
        assert status["id"] in [each["id"] for each in api.get("videos").json()["videos"]]
        assert api.get("videos/unknown").status_code == 404
        assert api.post("videos", json={"quality": "best"}).status_code == 400
        assert httpx.get(f"{api.base_url}videos").status_code == 401
        assert "sig=" not in (scene.folder / "host.log").read_text()
        # Nothing of the film's libraries is in the process that waits.
        assert "libav" not in Path(f"/proc/{workers[0].pid}/maps").read_text()
        workers[0].send_signal(signal.SIGTERM)
        assert workers[0].wait(10) == 0


def test_a_film_that_is_put_again_is_made_of_what_came_last_and_stands_once_it_is_done(
    scene: Set, clip: Path, undisturbed: tuple[list[int], np.ndarray]
) -> None:
    with scene.host() as api:
        upload = api.post("videos", json=OPTIONS).json()

        def put(content: bytes) -> None:
            assert httpx.put(upload["upload_url"], headers=upload["headers"], content=content).status_code == 201

        def job(other_than: str = "") -> dict | None:
            found = api.get(f"videos/{upload['id']}").json()
            # While a job is being opened the upload itself is shown.
            return found if found["id"] not in (upload["id"], other_than) else None

        put(b"half a film")
        first = wait_for(job)
        put(clip.read_bytes())
        second = wait_for(lambda: job(first["id"]))
        assert api.get(f"videos/{first['id']}").json()["error"].endswith(f"which is video {second['id']}")
        with scene.workers():
            assert same(film(scene, scene.ended(second["id"])), undisturbed)
        put(b"too late")
        left_alone = f"video {second['id']}, which is done: left alone"
        wait_for(lambda: left_alone in (scene.folder / "host.log").read_text())
        now = api.get(f"videos/{upload['id']}").json()
        assert (now["id"], now["state"], now["source"]) == (second["id"], "done", upload["blob"])


# Names, and what is left of each in that of its result; the last were put into storage without asking for an address.
ASKED = {
    "../../x.mp4": "_.._x",
    "a/b?c#d%2e&e=f.mp4": "a_b_c_d_2e_e_f",
    "日本 😀 'q\".mp4": "日本____q_",
    "film...": "film",
    "x" * 251 + ".mp4": "x" * 80,
}
PUT = {"a/b?c#d%2e&e=f.mp4": "b_c_d_2e_e_f", "日本 😀 'q\".mp4": "日本____q_", "y" * 900 + ".mp4": "y" * 80}


def test_films_of_hostile_names_come_back_under_readable_ones(scene: Set, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    make_clip(clip, frames=2, fps=24, size=(32, 32))
    with scene.host() as api, scene.workers():
        wanted = {}
        for name, readable in ASKED.items():
            upload = api.post("videos", json={"name": name, **OPTIONS}).json()
            put = httpx.put(upload["upload_url"], headers=upload["headers"], content=clip.read_bytes())
            assert put.status_code == 201
            scene.tell(upload["blob"])
            wanted[upload["id"]] = readable
        for name, readable in PUT.items():
            info = scene.blobs.upload(f"videos-in/{name}", clip, metadata=OPTIONS)
            scene.tell(info.name)
            wanted[job_id(info, OPTIONS)] = readable

        def done(id: str) -> dict | None:
            answer = api.get(f"videos/{id}")
            status = answer.json() if answer.status_code == 200 else {"state": "received"}
            assert status["state"] not in ("failed", "cancelled"), status
            return status if status["state"] == "done" else None

        for id, readable in wanted.items():
            job = wait_for(lambda id=id: done(id))
            assert job["result"] == f"videos-out/{readable}-{job['id']}.mp4"
            got = httpx.get(job["download_url"])
            assert quote(f"{readable}-{job['id']}.mp4") in got.headers["content-disposition"]
            assert len(got.content) == scene.blobs.head(job["result"]).size


def test_odd_requests_are_refused_and_never_an_error_of_ours(scene: Set) -> None:
    with scene.host() as api:
        for body in (b"", b"{", b"[" * 16_000, b"\xff", b'{"name": "\\ud800"}', b'{"scale": NaN}', b"x" * 100_000):
            for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data", "x"):
                answer = api.post("videos", content=body, headers={"content-type": kind})
                assert (answer.status_code, list(answer.json())) == (400, ["error"])
        assert api.post("videos", data={"name": "film.mp4"}).status_code == 400
        assert api.post("videos", content=b"{}", headers={"content-encoding": "gzip"}).status_code == 201


def test_a_killed_worker_and_host_and_doubled_events_change_nothing(
    scene: Set, submit: Callable[..., str], undisturbed: tuple[list[int], np.ndarray]
) -> None:
    with scene.workers(2) as workers:
        with scene.host():
            id = submit(events=3)
            wait_for(lambda: (job := scene.job(id)) and job.segments_done >= 1, every_s=0.002)
            workers[0].kill()
            assert not scene.videos.get(id).state.is_end
        workers[0].wait()
        for segment in range(0, SEGMENTS, 3):
            scene.work.ask(id, "segment", segment)
        scene.work.ask(id, "join")
        scene.work.ask(id, "plan")
        with scene.host():
            assert same(film(scene, scene.ended(id)), undisturbed)


@pytest.mark.parametrize(
    ("options", "content", "reason"),
    [
        ({"style": "broken"}, None, "not finite"),
        ({"style": "unknown"}, None, "inverted"),
        ({"scale": "9"}, None, "scale: expected a number from 0.25 to 1"),
        ({}, b"this is no film at all\n" * 100, "not a film that can be read: "),
        ({}, b"", "the file is empty"),
    ],
    ids=["NaN", "unknown style", "bad option", "a text", "nothing"],
)
def test_what_cannot_be_a_film_ends_with_a_reason(
    scene: Set,
    submit: Callable[..., str],
    clip: Path,
    tmp_path: Path,
    options: dict,
    content: bytes | None,
    reason: str,
) -> None:
    file = clip
    if content is not None:
        file = tmp_path / "no film.mp4"
        file.write_bytes(content)
    with scene.host(), scene.workers():
        job = scene.ended(submit(file, **options))
    assert job.state == VideoState.FAILED
    assert reason in job.error


def test_the_command_submits_shows_lists_and_cancels(
    scene: Set, clip: Path, undisturbed: tuple[list[int], np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("DataStorage", "PENSTOCK_STATE_PATH"):
        monkeypatch.setenv(name, scene.environment[name])
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))

    def penstock(*arguments: str, error: type[Exception] | None = None) -> Any:
        done = CliRunner().invoke(video.app, [*arguments, "--json"])
        assert (type(done.exception), done.exit_code) == (error or type(None), 1 if error else 0), done.output
        return json.loads(done.stdout) if done.stdout else str(done.exception)

    with scene.host(), scene.workers():
        out = tmp_path / "out.mp4"
        job = penstock("submit", str(clip), "--style", "inverted", "--quality", "fast", "--out", str(out))
        assert (job["state"], job["options"]["style"], job["network"]) == ("done", "inverted", "v1")
        assert same(pictures(out), undisturbed)
        assert penstock("status", job["id"], "--wait")["result"] == job["result"]
    assert job["id"] in [each["id"] for each in penstock("list", "--limit", "5")]
    assert "fast' or 'fine" in penstock("submit", str(clip), "--quality", "best", error=BadInput)
    assert "no video" in penstock("status", "unknown", error=NotFound)
    assert penstock("cancel", job["id"])["state"] == "done"
    shown = CliRunner().invoke(video.app, ["status", job["id"], "--log"], catch_exceptions=False).stdout
    assert f"{FRAMES} of {FRAMES}" in shown
    assert "segment-000019" in shown
    assert shown.count("style inverted v1: ") == 1  # one network for all segments
    assert len(re.findall(r"SHA-256 \w+, by (ONNX Runtime|OpenVINO) .*(fp32|bf16)", shown)) == SEGMENTS


def test_a_worker_told_to_stop_lets_go_within_its_time_and_another_goes_on(
    scene: Set, submit: Callable[..., str], undisturbed: tuple[list[int], np.ndarray]
) -> None:
    with scene.host():
        with scene.workers() as workers:
            id = submit()
            wait_for(lambda: (job := scene.job(id)) and job.segments_done >= 1, every_s=0.002)
            workers[0].send_signal(signal.SIGTERM)
            assert workers[0].wait(10) == 0
        assert scene.videos.get(id).state == VideoState.STYLISING
        with scene.workers():
            assert same(film(scene, scene.ended(id)), undisturbed)


def test_two_workers_of_one_process_do_two_steps_at_once_and_give_both_back_when_it_is_told_to_stop(
    scene: Set, submit: Callable[..., str]
) -> None:
    scene.slow_style()
    with scene.host(), scene.workers(PENSTOCK_VIDEO_WORKERS="2") as (worker,):
        id = submit(style="slow")

        def two_at_once() -> bool:
            job = scene.job(id)
            # The first look is the older one: a segment that ends between the two makes it one too many at most.
            return job is not None and job.segments_done >= 1 and scene.queue.length() - len(scene.queue.peek()) >= 2

        wait_for(two_at_once, every_s=0.01)
        children = children_of(worker)
        assert len(children) == 2
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
    job = scene.videos.get(id)
    waiting = scene.queue.peek()
    # All that is missing waits, and none of it is locked or counts a try.
    assert len(waiting) == SEGMENTS - job.segments_done
    assert {item.dequeue_count for item in waiting} == {0}
    wait_for(lambda: not any(map(is_alive, children)), 10)  # one that had answered ends with its worker
    scene.work.cancel(id)


def test_a_cancelled_film_gives_its_worker_free_and_leaves_nothing(
    scene: Set, submit: Callable[..., str], undisturbed: tuple[list[int], np.ndarray]
) -> None:
    scene.slow_style()
    with scene.host() as api, scene.workers():
        id = submit(style="slow")
        wait_for(lambda: (job := scene.job(id)) and job.state == VideoState.STYLISING, every_s=0.002)
        assert api.delete(f"videos/{id}").json()["state"] == "cancelled"
        assert same(film(scene, scene.ended(submit())), undisturbed)
        assert api.delete(f"videos/{id}").json()["state"] == "cancelled"
        assert not list(scene.blobs.list(f"videos-work/{id}/"))


def test_an_idle_worker_is_small(scene: Set) -> None:
    with scene.workers() as workers:
        wait_for(lambda: "waiting for films" in (scene.folder / "worker.log").read_text())
        status = Path(f"/proc/{workers[0].pid}/status").read_text()
        kilobytes = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
        assert kilobytes < 80_000


@pytest.fixture(scope="module")
def slow(scene: Set, clip: Path) -> tuple[list[int], np.ndarray]:
    """What a film in a style that takes its time has to come to."""
    options = {**OPTIONS, "style": scene.slow_style()}
    info = scene.blobs.upload("videos-in/slow.mp4", clip, metadata=options)
    with scene.host(), scene.workers():
        return film(scene, scene.ended(job_id(info, options)))


@pytest.mark.scheduled
def test_a_step_whose_process_dies_each_time_fails_its_job_and_others_go_on(
    scene: Set, submit: Callable[..., str], slow: tuple[list[int], np.ndarray]
) -> None:
    with scene.host(), scene.workers() as workers:
        id = submit(style="slow")

        def dies() -> bool:
            for child in children_of(workers[0]):
                if (job := scene.job(id)) is not None and job.state == VideoState.STYLISING:
                    os.kill(child, signal.SIGKILL)
            job = scene.job(id)
            return job is not None and job.state.is_end

        wait_for(dies, 120)
        job = scene.videos.get(id)
        assert job.state == VideoState.FAILED
        assert "gave up, failed 5 times; the last time: " in job.error
        assert "was killed (SIGKILL)" in job.error
        assert scene.ended(submit()).state == VideoState.DONE


@pytest.mark.scheduled
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10))
def test_workers_killed_at_random_the_joining_one_too_change_nothing(
    scene: Set, submit: Callable[..., str], slow: tuple[list[int], np.ndarray], seed: int
) -> None:
    chance = random.Random(seed)
    with scene.host(), scene.workers(2) as workers:
        id = submit(events=2, style="slow")
        kills = joins = 0
        # By progress, not by time: a busy machine starts workers slowly, and each kill must find some at work.
        next_kill = chance.randint(1, 3)
        while (job := scene.job(id)) is None or not job.state.is_end:
            joining = job is not None and job.state == VideoState.JOINING and joins < 2
            # Near the end nobody sleeps, so that the join is not missed.
            if joining or (job is not None and next_kill <= job.segments_done < SEGMENTS - 4):
                time.sleep(0 if joining else chance.uniform(0, 0.5))
                for at in range(len(workers)) if joining else [chance.randrange(len(workers))]:
                    workers[at].kill()
                    workers[at].wait()
                    workers[at] = scene.start_worker()
                kills += 1
                joins += joining
                next_kill = scene.videos.get(id).segments_done + chance.randint(1, 4)
            time.sleep(0.003)
        assert kills >= 3
        assert joins >= 1
        assert same(film(scene, job), slow)
