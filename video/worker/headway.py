"""What tells that a step makes headway while it is in work, and that it is not wanted any more."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from models.errors import NotFound, TryLater
from models.videowork import VideoWork

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 1.0
# Of one core, in a second: less is a process that waits for something that may never come.
_LEAST_CPU_S: Final = 0.01


class Watch:
    """Told of frames while a segment is made: beats, and now and then sees whether its job still wants them."""

    def __init__(self, work: VideoWork, job: str, beat: Callable[[], None]) -> None:
        self.stopped = threading.Event()
        self._work = work
        self._job = job
        self._beat = beat
        self._looked = time.monotonic()

    def progress(self, _frames: int) -> None:
        """Called after each batch of frames."""
        self._beat()
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        if is_over(self._work, self._job):
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

    Reading through a long film takes longer than any silence that is allowed. What waits for ever does not compute,
    and what computes for ever is over with its job, which ends by its age at the latest.
    """

    def __init__(self, work: VideoWork, job: str, used_s: Callable[[], float] = time.process_time) -> None:
        self._work = work
        self._job = job
        self._used_s = used_s
        self._before = used_s()

    def __call__(self) -> bool:
        """Whether it did since the call before."""
        before, self._before = self._before, self._used_s()
        return self._before - before >= _LEAST_CPU_S and not is_over(self._work, self._job)


def is_over(work: VideoWork, job: str) -> bool:
    """Whether the job has ended; False if that cannot be seen now."""
    try:
        return work.videos.get(job).state.is_end
    except (TryLater, NotFound) as error:
        log.warning("it cannot be seen whether %s was cancelled: %s", job, error)
        return False
