"""The sweep: what heals when an event or a message of a film is lost, or a process died with one in its hands.

- An uploaded blob without a job gets one: the event of its upload was lost, or nobody sends events (on a laptop).
  Where there are many blobs this is looked at less often than the rest.
- A job whose segments are all there is joined; what is missing of one that no message speaks of is asked for again.
- A job that is not done in time has failed.
- What a job left behind when it ended is removed, and so are uploads to which nothing came.

It runs on a timer and at every start, and may run twice at once: everything it calls may be done twice.
"""

import logging
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from functions.uploads import start_each
from functions.videos.intake import Intake
from models.contracts.videos import VideoJob, VideoState, VideoUpload
from models.errors import Damaged, NotFound, PenstockError
from models.names import VIDEO_UPLOADS, VIDEO_WORK
from models.ports import BlobInfo
from models.videowork import VideoWork

log = logging.getLogger(__name__)

# The message is in the queue long before.
GRACE_S: Final = 10.0
# With messages of other films in the queue it cannot be seen whether one of this film is among them.
STALLED_S: Final = 900.0
_TIDY_EVERY_S: Final = 60.0
_FORGET_AFTER_S: Final = 86_400.0
_AT_ONCE: Final = 100
# Azurite lists a blob in 0.25 ms: listing takes a twentieth of the time. By the number, since a listing that was slow
# once would be rested from for long.
_REST_S_A_BLOB: Final = 0.005


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep healed; all zero when nothing was lost."""

    started: int = 0
    asked: int = 0
    expired: int = 0
    failed: int = 0
    """Jobs and blobs that could not be looked after, one for a listing of them; the log says why."""


class VideoSweeper:
    """Looks after uploads and unfinished jobs."""

    def __init__(self, work: VideoWork, intake: Intake, *, max_age: timedelta) -> None:
        self._work = work
        self._intake = intake
        self._max_age_s = max_age.total_seconds()
        self._known: set[tuple[str, str]] = set()
        """Blobs, by version, that have their job."""
        self._rest_from = self._rest_s = 0.0
        """When uploads were last listed, epoch seconds, and for how long that need not be done again."""
        self._after = ""
        """The last job looked after, where there are too many for one sweep."""
        self._tidied = 0.0
        self._lock = threading.Lock()

    def sweep(self) -> Swept:
        """Look after everything once. What fails is logged and does not hold up the others."""
        with self._lock:
            started, failed = self._uploads() if self._rested() else (0, 0)
            asked = expired = 0
            idle = self._work.queue.length() == 0
            for id in self._next(self._work.videos.unfinished()):
                try:
                    job = self._work.videos.get(id)
                    if self._work.clock.now() - job.created_at > self._max_age_s:
                        self._work.fail(id, f"was not done within {self._max_age_s / 3600:g} hours")
                        expired += 1
                    else:
                        asked += self._look_after(job, idle)
                except PenstockError:
                    log.exception("video %s cannot be looked after", id)
                    failed += 1
            self._tidy()
            return Swept(started, asked, expired, failed)

    def _rested(self) -> bool:
        """Whether uploads are to be listed: the more there ever were, the longer that takes, and the rarer it is."""
        passed_s = self._work.clock.now() - self._rest_from
        return not 0 <= passed_s < self._rest_s  # below 0: the clock was set back

    def _uploads(self) -> tuple[int, int]:
        """Jobs that were started, and how much could not be looked after."""
        found = self._listed()
        if found is None:
            return 0, 1
        started, failed = start_each(found, self._start)
        if failed:
            self._rest_s = 0.0
        self._known &= {(info.name, info.etag) for info in found}
        return started, failed

    def _listed(self) -> list[BlobInfo] | None:
        """All uploads; None if storage does not list them, which is no reason to forget the jobs that there are."""
        try:
            found = list(self._work.blobs.list(VIDEO_UPLOADS))
        except PenstockError as error:
            log.error(
                "%s cannot be listed, so only films of which an event tells get a job: %s. If storage answers "
                "otherwise, the name of a blob there may be the reason (Azurite lists nothing where one has a "
                "control character): delete what was put there last, by its name",
                VIDEO_UPLOADS,
                error,
            )
            return None
        self._rest_from, self._rest_s = self._work.clock.now(), len(found) * _REST_S_A_BLOB
        return found

    def _start(self, info: BlobInfo) -> bool:
        """Whether the blob had no job until now."""
        if (info.name, info.etag) in self._known:
            return False
        started = self._intake.start(info)
        # Not before: after an error the next sweep looks again.
        self._known.add((info.name, info.etag))
        return started

    def _next(self, unfinished: list[str]) -> list[str]:
        """At most so many, those after the ones of the sweep before."""
        later = [id for id in unfinished if id > self._after]
        chosen = (later or unfinished)[:_AT_ONCE]
        self._after = chosen[-1] if len(chosen) == _AT_ONCE else ""
        return chosen

    def _look_after(self, job: VideoJob, idle: bool) -> int:
        """Messages sent."""
        now = self._work.clock.now()
        if now - job.asked_at < GRACE_S:
            return 0
        if job.state == VideoState.STYLISING:
            job = self._work.progress(job)
            if job.state != VideoState.STYLISING:
                return 1
        # Ever more rarely, since what waits behind others for long would fill the queue with itself.
        patience_s = max(STALLED_S, job.asked_at - job.moved_at)
        if idle or now - max(job.moved_at, job.asked_at) > patience_s:
            return self._work.ask_missing(job)
        return 0

    def _tidy(self) -> None:
        now = self._work.clock.now()
        if now - self._tidied < _TIDY_EVERY_S:
            return
        for id in {
            info.name.removeprefix(VIDEO_WORK).partition("/")[0] for info in self._work.blobs.list(VIDEO_WORK)
        }:
            try:
                ended = self._work.videos.get(id).state.is_end
            except (NotFound, Damaged):
                continue
            if ended:
                self._work.clear(id)
        self._work.videos.forget_uploads(now - _FORGET_AFTER_S, self._has_come)
        self._tidied = now

    def _has_come(self, upload: VideoUpload) -> bool:
        return self._work.blobs.head(upload.blob) is not None
