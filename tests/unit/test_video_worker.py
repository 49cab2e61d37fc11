"""A video worker and its child: one process for many requests, its crashes, its silence, its end."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from infra.settings import Settings
from infra.wiring import video_steps
from infra.wiring.steady import SteadyProcess
from infra.wiring.video import Records, workers
from infra.wiring.video_steps import build, claim
from models.contracts.videos import VideoJob, VideoMessage, VideoState
from models.errors import ConfigurationError, TryLater
from models.ports import Put
from models.worker import Job, Work, Worker
from tests.fakes import FakeClock, FakeQueue
from tests.unit.studio import Studio
from tests.waiting import wait_for
from video.worker.films import FilmPipeline

# Answers with its pid; what it does besides is named by the job.
CHILD = """
import json, os, signal, sys, time
for line in sys.stdin:
    job = json.loads(line)["job"]
    if job == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job.startswith("leave") and not os.path.exists(job.partition(" ")[2]):
        open(job.partition(" ")[2] or os.devnull, "w").close()
        sys.exit(0)
    if job == "hang":
        time.sleep(1000)
    if job == "slow":
        for _ in range(20):
            print(flush=True)
            time.sleep(0.02)
    if job == "machine":
        print(json.dumps({"error": "the disk is full", "of_machine": True}), flush=True)
        continue
    print(json.dumps({"error": "no good"} if job == "error" else {"outcome": str(os.getpid())}), flush=True)
"""


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.fixture
def child() -> Iterator[SteadyProcess]:
    made = SteadyProcess([sys.executable, "-c", CHILD], stall_s=0.2)
    yield made
    made.end()


def do(child: SteadyProcess, job: str) -> str:
    running = child.start(VideoMessage(kind="plan", job=job))
    deadline = time.monotonic() + 30
    while (outcome := running.wait(0.05)) is None:
        assert time.monotonic() < deadline
    return outcome


def test_one_process_does_one_request_after_another(child: SteadyProcess) -> None:
    assert do(child, "a") == do(child, "b")


def test_a_crash_is_an_error_that_says_so_and_the_next_request_has_a_new_process(child: SteadyProcess) -> None:
    first = do(child, "a")
    with pytest.raises(RuntimeError, match=r"was killed \(SIGSEGV\)"):
        do(child, "crash")
    assert do(child, "a") != first


def test_after_an_error_the_next_request_has_a_new_process(child: SteadyProcess) -> None:
    first = do(child, "a")
    with pytest.raises(RuntimeError, match="no good"):
        do(child, "error")
    with pytest.raises(ProcessLookupError):
        os.kill(int(first), 0)
    assert do(child, "a") != first


def test_a_process_that_ends_for_want_of_work_as_a_request_comes_has_not_failed_it(
    child: SteadyProcess, tmp_path: Path
) -> None:
    first = do(child, "a")
    assert do(child, f"leave {tmp_path / 'left'}") != first
    with pytest.raises(RuntimeError, match="ended with 0"):
        do(child, "leave")


def test_a_process_that_ended_for_want_of_work_is_replaced_without_a_word(child: SteadyProcess) -> None:
    first = do(child, "a")
    os.kill(int(first), signal.SIGTERM)
    assert child._process is not None
    child._process.wait(10)
    assert do(child, "a") != first


def test_a_request_that_makes_no_headway_is_ended_and_one_that_does_is_not(child: SteadyProcess) -> None:
    assert do(child, "slow")
    with pytest.raises(RuntimeError, match=r"no headway for 0\.2 s"):
        do(child, "hang")
    assert child._process is None


def test_cancelling_ends_the_process_in_the_middle_of_a_request(child: SteadyProcess) -> None:
    pid = int(do(child, "a"))
    running = child.start(VideoMessage(kind="plan", job="hang"))
    assert running.wait(0.01) is None
    running.cancel()
    running.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_step_that_crashes_five_times_is_given_up_and_each_time_was_noted(child: SteadyProcess) -> None:
    clock = FakeClock()
    queue, poison = FakeQueue(clock), FakeQueue(clock)
    noted: list[str] = []
    given_up: list[str] = []
    work = Work(
        "films", VideoMessage, child.start,
        lambda message, why: given_up.append(f"{message.job}: {why}"),
        lambda message, why: noted.append(f"{message.job}: {why}"),
    )  # fmt: skip
    worker = Worker(queue, poison, work)
    queue.send(msgspec.json.encode(VideoMessage(kind="plan", job="crash")))
    while queue.length():
        worker.step()
        clock.advance(60)
    assert noted == ["crash: the process that worked on it was killed (SIGSEGV)"] * 5
    assert given_up == ["crash: failed 5 times"]
    assert poison.length() == 1


def test_the_job_of_a_step_that_failed_too_often_says_what_it_failed_with(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    job, other = studio.start(), studio.start(studio.put("other.mp4"))
    records = Records(Settings())
    records.work = studio.work
    message = VideoMessage(kind="segment", job=job.id, segment=3)
    records.failed(message, "the process that worked on it was killed (SIGKILL)")
    assert not studio.videos.get(job.id).state.is_end
    records.given_up(message, "failed 5 times")
    ended = studio.videos.get(job.id)
    assert ended.state == VideoState.FAILED
    assert ended.error == (
        "gave up, failed 5 times; the last time: segment 3: the process that worked on it was killed (SIGKILL)"
    )
    records.given_up(VideoMessage(kind="plan", job=other.id), "failed 5 times")
    assert "workers that had it were killed" in studio.videos.get(other.id).error
    for record in (records.failed, records.given_up):
        record(VideoMessage(kind="plan", job="unknown"), "failed")


def test_a_record_that_cannot_be_read_ends_no_worker(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    job = studio.start()
    for (container, partition, id), document in list(studio.state.documents.items()):
        if document.body != b"{}":
            studio.state.transact(container, partition, [Put(id, b"{}")])
    records = Records(Settings())
    records.work = studio.work
    message = VideoMessage(kind="plan", job=job.id)
    records.failed(message, "Damaged")
    assert not records.only_killed(message)
    records.given_up(message, "failed 5 times")


def test_a_step_whose_workers_are_killed_has_more_tries_than_one_that_fails(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    records = Records(Settings())
    records.work = studio.work
    begun: list[VideoMessage] = []

    class Killed(BaseException):
        pass

    def start(message: VideoMessage) -> Job:
        begun.append(message)
        raise Killed

    work = Work("films", VideoMessage, start, records.given_up, records.failed, records.only_killed)

    def tries(job: VideoJob) -> int:
        """Of its plan, by workers of which none lives to say what happened."""
        begun.clear()
        while not studio.videos.get(job.id).state.is_end:
            with contextlib.suppress(Killed):
                Worker(studio.queue, FakeQueue(studio.clock), work).step()
            studio.clock.advance(60)
        return len(begun)

    job = studio.start()
    assert tries(job) == 20
    assert (
        "failed 20 times; the last time: plan: the workers that had it were killed" in studio.videos.get(job.id).error
    )
    other = studio.start(studio.put("other.mp4"))
    records.failed(VideoMessage(kind="plan", job=other.id), "no good")
    assert tries(other) == 5
    assert studio.videos.get(other.id).error == "gave up, failed 5 times; the last time: plan: no good"
    # Of the steps that failed only the last is noted: a film at which all fail must not be tried for ever.
    third = studio.start(studio.put("third.mp4"))
    records.failed(VideoMessage(kind="segment", job=third.id, segment=1), "another step")
    assert tries(third) == 5


def test_a_stopped_worker_sends_its_message_anew_and_an_idle_one_ends(child: SteadyProcess) -> None:
    import threading

    clock = FakeClock()
    queue, poison = FakeQueue(clock), FakeQueue(clock)
    body = msgspec.json.encode(VideoMessage(kind="plan", job="hang"))
    queue.send(body)
    patient = SteadyProcess([sys.executable, "-c", CHILD], stall_s=60)
    worker = Worker(queue, poison, Work("films", VideoMessage, patient.start), poll_s=0.01)
    thread = threading.Thread(target=worker.run)
    thread.start()
    wait_for(lambda: patient._process is not None)
    worker.stop()
    thread.join(10)
    assert not thread.is_alive()
    item = queue.receive(timedelta(seconds=30))
    assert item is not None
    assert (item.body, item.dequeue_count, queue.length()) == (body, 1, 1)
    queue.delete(item)
    Worker(queue, poison, Work("films", VideoMessage, child.start), poll_s=0.01, idle_s=0.05).run()


def test_a_wrong_name_of_a_runtime_is_said_before_the_first_film() -> None:
    with pytest.raises(ConfigurationError, match="expected some of tensorrt, cuda, openvino, cpu, got gpu"):
        workers(Settings(video_providers="openvino, gpu"))


def test_the_networks_of_a_worker_run_on_what_its_settings_name(tmp_path: Path) -> None:
    settings = Settings(video_providers=" openvino,cpu", video_precision="fp32", state_path=tmp_path / "state.sqlite")
    pipeline = build(settings, tmp_path, lambda: None).pipeline
    assert isinstance(pipeline, FilmPipeline)
    assert (pipeline.providers, pipeline.precision) == (["openvino", "cpu"], "fp32")


def test_a_process_that_cannot_begin_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_VIDEO_SEGMENT_S", "short")
    child = SteadyProcess([sys.executable, "-m", "infra.wiring.video_steps"], stall_s=60)
    with pytest.raises(ConfigurationError, match="video_segment_s"):
        do(child, "a")
    child.end()


# What is the machine's fault is nobody's failed try.


def test_a_process_without_a_folder_names_it_and_fails_no_film(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PENSTOCK_VIDEO_DIR", str(tmp_path / "file" / "video"))
    child = SteadyProcess([sys.executable, "-m", "infra.wiring.video_steps"], stall_s=60)
    with pytest.raises(ConfigurationError, match=r"PENSTOCK_VIDEO_DIR: .* got .*/file/video \(Not a directory\)"):
        do(child, "a")
    child.end()


def test_a_full_disk_is_the_machines_fault_and_the_film_is_made_when_there_is_room(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    job = studio.start()
    message = studio.next()
    assert message is not None
    info = studio.blobs.head(job.source)
    assert info is not None
    file = studio.steps.sources.get(info.name, info.etag)
    file.unlink()
    full = studio.worker("0")
    file.symlink_to("/dev/full")
    answer = video_steps.do(full, message, lambda: None)
    assert answer.of_machine
    assert answer.error.startswith(f"cannot write in {full.scratch} (No space left on device): make room there")
    file.unlink()
    assert not video_steps.do(full, message, lambda: None).error
    studio.run()
    assert studio.videos.get(job.id).state == VideoState.DONE


@pytest.mark.parametrize(
    ("error", "is_machines"),
    [
        (ConfigurationError("blob a: forbidden; check the connection string"), True),
        (_caused(TryLater("the film cannot be written"), OSError(errno.EDQUOT, "Disk quota exceeded")), True),
        (OSError(errno.EIO, "Input/output error"), False),  # FFmpeg says it of films, too
        (RuntimeError("a bug"), False),
    ],
)
def test_what_a_step_raises_is_told_from_the_machines_faults(
    tmp_path: Path, error: Exception, is_machines: bool
) -> None:
    studio = Studio(tmp_path)
    studio.start()
    message = studio.next()
    assert message is not None
    studio.pipeline.during = lambda: (_ for _ in ()).throw(error)
    assert video_steps.do(studio.steps, message, lambda: None).of_machine == is_machines


def test_a_fault_of_the_machine_is_noted_and_costs_the_film_no_try(child: SteadyProcess, tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    job = studio.start()
    records = Records(Settings())
    records.work = studio.work
    work = Work(
        "films", VideoMessage, lambda _: child.start(VideoMessage(kind="plan", job="machine")), failed=records.failed
    )
    worker = Worker(studio.queue, FakeQueue(studio.clock), work, rest_s=0)
    for _ in range(30):
        assert not worker.step()
    assert studio.videos.get(job.id).error == "plan: the disk is full"
    item = studio.queue.receive(timedelta(seconds=30))
    assert item is not None
    assert item.dequeue_count == 1


def test_each_process_has_a_folder_of_its_own(tmp_path) -> None:
    first, one = claim(tmp_path / "video")
    second, two = claim(tmp_path / "video")
    assert first != second
    one.close()
    again, three = claim(tmp_path / "video")
    assert again == first
    two.close()
    three.close()
