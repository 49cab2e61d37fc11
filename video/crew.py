"""Processes that share the segments of one film on this machine.

A process takes a segment, writes it under its number, and takes the next. One that dies costs its segment, which
another makes again; if it is killed three times over, the film fails. Processes beat threads: decoding, network and
encoding of several segments fill cores that one network's threads leave idle while they wait for each other.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, Self

from models.contracts.film import FilmPlan
from models.errors import BadInput, PenstockError, TryLater
from models.style.library import Style
from models.style.runtimes import Precision

_TRIES: Final = 3
_GRACE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """What a process must know. `folder`: where segments go, each as a file named by its number."""

    source: Path
    plan: FilmPlan
    style: Style
    folder: Path
    threads: int
    providers: Sequence[str] | None = None
    precision: Precision = "best"


class _Worker:
    """A process with the pipe to it, and the segment that it is at."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that FFmpeg's threads hold
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(theirs, job), name="film", daemon=True)
        self.process.start()
        theirs.close()
        self.segment: int | None = None
        self.frames = 0

    def take(self, segment: int) -> None:
        """Begin the segment; if the process is dead, the pipe says so later."""
        self.segment, self.frames = segment, 0
        with contextlib.suppress(OSError):
            self.pipe.send(segment)

    def end(self, grace_s: float) -> None:
        """Wait for the process, kill it after `grace_s`, and close the pipe."""
        self.process.join(grace_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


class Crew:
    """Up to `workers` processes at one film; leaving the context ends them, however it is left."""

    def __init__(self, job: Job, workers: int) -> None:
        self.runtime = ""
        """What the networks run on, once the first one is open."""
        self._job = job
        self._wanted = workers
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + _GRACE_S
        for worker in self._workers:
            worker.end(max(0.0, deadline - time.monotonic()))
        self._workers.clear()

    @property
    def pids(self) -> list[int]:
        """Of the processes that were started and not yet seen to end."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def make(self, segments: Iterable[int], progress: Callable[[int], None]) -> None:
        """Make these segments; returns when all are in the folder. `progress` is told the frames done so far.

        Raises what a segment raised (BadInput: the same for whoever tries), and BadInput if processes keep dying.
        """
        todo = deque(segments)
        tries: dict[int, int] = {}
        finished = 0
        while todo or any(worker.segment is not None for worker in self._workers):
            self._employ(todo)
            for pipe in wait([worker.pipe for worker in self._workers]):
                worker = next(each for each in self._workers if each.pipe is pipe)
                message = _received(worker.pipe)
                if message is None:
                    self._bury(worker, todo, tries)
                else:
                    finished += self._heard(worker, message)
                progress(finished + sum(each.frames for each in self._workers))

    def _employ(self, todo: "deque[int]") -> None:
        """A segment for every idle process, and processes up to the number wanted."""
        idle = [worker for worker in self._workers if worker.segment is None]
        while todo and (idle or len(self._workers) < self._wanted):
            if idle:
                worker = idle.pop()
            else:
                worker = _Worker(self._job)
                self._workers.append(worker)
            worker.take(todo.popleft())

    def _heard(self, worker: _Worker, message: tuple[str, Any]) -> int:
        """Frames of a segment that is finished with this message."""
        kind, value = message
        if kind == "failed":
            raise value
        if kind == "open":
            self.runtime = value
        elif kind == "frames":
            worker.frames = value
        elif kind == "done":
            worker.segment, worker.frames = None, 0
            return int(value)
        return 0

    def _bury(self, worker: _Worker, todo: "deque[int]", tries: dict[int, int]) -> None:
        self._workers.remove(worker)
        worker.end(_GRACE_S)
        if (segment := worker.segment) is None:
            return
        tries[segment] = tries.get(segment, 0) + 1
        if tries[segment] == _TRIES:
            raise BadInput(
                f"segment {segment}: {_TRIES} processes died at it, the last {_death(worker.process.exitcode)}; try "
                f"fewer workers, a smaller --scale or --quality fast if memory is short"
            )
        todo.appendleft(segment)


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _received(pipe: "Connection[Any, Any]") -> tuple[str, Any] | None:
    try:
        message: tuple[str, Any] = pipe.recv()
    except (EOFError, OSError):
        return None
    return message


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with exit code {code}"


def _work(pipe: "Connection[Any, Any]", job: Job) -> None:
    """A process of the crew: segments whose numbers come in, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the one who started us ends us
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    try:
        _segments(pipe, job)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # whoever wanted the film is gone
    except PenstockError as error:
        pipe.send(("failed", error))
    except OSError as error:  # a full disk, a source that is gone: no process will do better
        # Of a full disk the system names no file.
        place, reason = error.filename or job.folder.parent, error.strerror or error
        pipe.send(("failed", TryLater(f"a segment cannot be made: {place}: {reason}")))


def _segments(pipe: "Connection[Any, Any]", job: Job) -> None:
    from models.style.network import open_network
    from video.segment import make_segment

    source, style = job.plan.source, job.style
    network = open_network(
        style.graph,
        style.manifest,
        height=source.height,
        width=source.width,
        options=job.plan.options,
        threads=job.threads,
        providers=job.providers,
        precision=job.precision,
    )
    pipe.send(("open", network.describe()))
    while True:
        index: int = pipe.recv()
        data = make_segment(
            job.source, job.plan, index, network, progress=lambda frames: pipe.send(("frames", frames))
        )
        partial = job.folder / f"{index}.partial"
        partial.write_bytes(data)
        partial.replace(job.folder / str(index))
        pipe.send(("done", job.plan.segments[index].frames))
