"""What does the steps of films, in a child process of a video worker: `python -m infra.wiring.video_steps`.

It talks as `infra.wiring.steady` says, keeps the network that it used last, and ends when it had nothing to do for a
while or its worker is gone, so that memory returns.
"""

import errno
import fcntl
import itertools
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn

import msgspec

from infra.settings import Settings
from infra.wiring.jobs import configure_logging
from infra.wiring.steady import Answer
from models.contracts.videos import VideoMessage
from models.errors import ConfigurationError, TryLater

if TYPE_CHECKING:
    from video.worker.steps import Steps

log = logging.getLogger(__name__)

_IDLE_S: Final = 60.0
# Storage that is away for longer is a failed try.
_PATIENCE_S: Final = 300.0
_BEAT_EVERY_S: Final = 0.5
# What is never a film's fault.
_OF_DISK: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}


def build(settings: Settings, scratch: Path, beat: Callable[[], None]) -> "Steps":
    """The steps on the settings of this process."""
    from importlib.resources import files

    from infra.azure.blobs import AzureBlobs
    from infra.azure.queues import AzureQueue
    from infra.clock import SystemClock
    from infra.wiring.state import open_state
    from models.names import VIDEO_QUEUE
    from models.style.library import StyleLibrary
    from models.style.runtimes import providers_of
    from models.videos import Videos
    from models.videowork import VideoWork
    from video.crew import cores
    from video.worker.films import FilmPipeline
    from video.worker.sources import Sources
    from video.worker.steps import Steps

    connection, clock = settings.data_storage.get_secret_value(), SystemClock()
    blobs = AzureBlobs(connection)
    work = VideoWork(blobs, Videos(open_state(settings), clock), AzureQueue(connection, VIDEO_QUEUE), clock)
    pipeline = FilmPipeline(
        styles=StyleLibrary(files("video") / "styles", blobs),
        limits=settings.film_limits,
        segment_s=settings.video_segment_s,
        threads=settings.video_threads or max(1, cores() // max(1, settings.video_workers)),
        cache=settings.video_dir / "compiled",
        providers=providers_of(settings.video_providers),
        precision=settings.video_precision,
    )
    sources = Sources(
        blobs, scratch / "sources", max_bytes=settings.video_cache_bytes, max_film_bytes=settings.video_max_bytes
    )
    return Steps(work, sources, pipeline, scratch, beat)


def claim(folder: Path) -> tuple[Path, BinaryIO]:
    """The first folder `0`, `1`, ... in `folder` that no living process has, and the lock that says so."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        lock = (folder / f"{number}.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        (folder / str(number)).mkdir(exist_ok=True)
        return folder / str(number), lock
    raise AssertionError("numbers do not end")


class _Line:
    """The worker's ear: answers, and beats that say that a step makes headway. From any thread."""

    def __init__(self, out: int) -> None:
        self._out = out
        self._beaten = 0.0

    def beat(self) -> None:
        if time.monotonic() - self._beaten >= _BEAT_EVERY_S:
            self._beaten = time.monotonic()
            self._write(b"\n")

    def answer(self, answer: Answer) -> None:
        self._write(msgspec.json.encode(answer) + b"\n")

    def _write(self, line: bytes) -> None:
        try:
            os.write(self._out, line)
        except BrokenPipeError:
            os._exit(0)  # whoever asked is gone


def _requests(found: "queue.Queue[bytes]") -> None:
    for line in sys.stdin.buffer:
        found.put(line)
    os._exit(0)  # the worker is gone, whatever is in work


def do(steps: "Steps", message: VideoMessage, beat: Callable[[], None]) -> Answer:
    """Do a step; storage that is away is waited for. Errors are told from what this machine is to blame for."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return Answer(outcome=steps.do(message))
        except Exception as error:  # the worker counts tries
            if fault := fault_of_machine(error, steps.scratch):
                return Answer(error=fault, of_machine=True)
            if not isinstance(error, TryLater):
                log.exception("step failed")
                return Answer(error=f"{type(error).__name__}: {error}")
            if time.monotonic() > until:
                return Answer(error=str(error))
            log.warning("again in %g s: %s", error.retry_after_s, error)
            beat()
            time.sleep(min(error.retry_after_s, 10.0))


def fault_of_machine(error: BaseException, folder: Path) -> str:
    """What is wrong with this machine, and what to do; empty if `error` is not that. `folder`: of the worker."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConfigurationError):
            return str(cause)
        if isinstance(cause, OSError) and cause.errno in _OF_DISK:
            return (
                f"cannot write in {folder} ({cause.strerror}): make room there, or let PENSTOCK_VIDEO_DIR name a "
                "folder on another disk"
            )
        cause = cause.__cause__
    return ""


def _begin(beat: Callable[[], None]) -> tuple["Steps", BinaryIO]:
    """The steps, and the lock of their folder."""
    settings = Settings()
    folder = settings.video_dir.absolute()
    try:
        scratch, lock = claim(folder)
        return build(settings, scratch, beat), lock
    except OSError as error:
        raise ConfigurationError(
            f"PENSTOCK_VIDEO_DIR: expected a folder that can be written, got {folder} ({error.strerror})"
        ) from error


def main() -> NoReturn:
    """Do steps until there are none for a while; then the process ends."""
    configure_logging()
    # Both reach the whole group: the worker decides when a step ends, and kills.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Telemetry on the same machine comes first.
    os.nice(10)
    # Libraries may print: only we speak to the worker.
    line = _Line(os.dup(1))
    os.dup2(2, 1)
    try:
        steps, _lock = _begin(line.beat)
    except Exception as error:  # to whoever sent the first request, which is on its way
        log.exception("no step can be done")
        line.answer(Answer(error=str(error), of_machine=True))
        sys.exit(1)
    found: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_requests, args=(found,), daemon=True).start()
    while True:
        try:
            request = found.get(timeout=_IDLE_S)
        except queue.Empty:
            logging.shutdown()
            os._exit(0)  # the interpreter would wait for the thread that reads
        line.answer(do(steps, msgspec.json.decode(request, type=VideoMessage), line.beat))


if __name__ == "__main__":
    main()
