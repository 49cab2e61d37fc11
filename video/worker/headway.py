"""What tells that a step makes headway while it is in work, and that it is not wanted any more."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from models.errors import PenstockError
from models.videowork import VideoWork

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 1.0
# Many workers write the one record of a job.
_REPORT_EVERY_S: Final = 5.0
# Of one core, in a second: less is a process that waits for something that may never come.
_LEAST_CPU_S: Final = 0.01


class Watch:
    """Told of frames while a segment is made: beats, and reports them. `stopped`: its job wants them no more."""

    def __init__(self, work: VideoWork, job: str, segment: int, beat: Callable[[], None]) -> None:
        self.stopped = threading.Event()
        self._work = work
        self._job = job
        self._segment = segment
        self._beat = beat
        self._reported = time.monotonic()

    def progress(self, frames: int) -> None:
        """Called after each batch, with the frames of the segment so far."""
        self._beat()
        now = time.monotonic()
        if now - self._reported < _REPORT_EVERY_S:
            return
        self._reported = now
        with seen_later(self._job):
            if self._work.report(self._job, self._segment, frames).state.is_end:
                self.stopped.set()


class Beating:
    """Within the block the beat goes on by itself, each second in which `goes_on` says so."""

    def __init__(self, beat: Callable[[], None], goes_on: Callable[[], bool] = lambda: True) -> None:
        self._beat = beat
        self._goes_on = goes_on
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            if self._goes_on():
                self._beat()


class Labour:
    """Whether this process works at a job that wants it: what computes without saying how far it is.

    Reading through a long film, and building a network for a GPU, take longer than any silence that is allowed. What
    waits for ever does not compute, and what computes for ever is over with its job, which ends by its age at the
    latest.
    """

    def __init__(
        self,
        work: VideoWork,
        job: str,
        stopped: threading.Event | None = None,
        used_s: Callable[[], float] = time.process_time,
    ) -> None:
        """`stopped` is set once the job has ended."""
        self._work = work
        self._job = job
        self._stopped = stopped or threading.Event()
        self._used_s = used_s
        self._before = used_s()

    def __call__(self) -> bool:
        """Whether it did since the call before."""
        before, self._before = self._before, self._used_s()
        with seen_later(self._job):
            if self._work.videos.get(self._job).state.is_end:
                self._stopped.set()
        return self._before - before >= _LEAST_CPU_S and not self._stopped.is_set()


@contextmanager
def seen_later(job: str) -> Iterator[None]:
    """Within the block, a record that does not answer is no reason to give up what is in work."""
    try:
        yield
    except PenstockError as error:
        log.warning("the record of %s does not answer: %s", job, error)
