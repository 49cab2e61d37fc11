"""The sweep: what heals when an event or a message of a run is lost, or a process died with one in its hands.

- An uploaded blob without a run gets one: the event of its upload was lost.
- A training run that no message speaks of is asked for again.
- A list of users that was not cut is cut; one whose scoring stands still has its missing shards queued again.
- What a run left behind when it ended is removed.

It runs on a timer and at every start, and may run twice at once: everything it calls may be done twice.
"""

import logging
import threading
from dataclasses import dataclass
from typing import Final

import msgspec

from functions.runs.intake import Intake, upload_run
from functions.runs.shards import Batches
from functions.uploads import start_each
from models.contracts.runs import Run, RunKind, Stage
from models.errors import NotFound, PenstockError
from models.names import SHARDS, UPLOADS, USER_LISTS
from models.ports import BlobInfo, BlobStore, Clock
from models.runs import Runs

log = logging.getLogger(__name__)

# The trigger has fired, or the message is in the queue, long before.
GRACE_S: Final = 5.0
# A shard of users takes less, even behind others.
STALLED_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep healed; all zero when nothing was lost."""

    started: int = 0
    asked: int = 0
    failed: int = 0
    """Runs and uploads that could not be looked after, one for a listing of them; the log says why."""


class RunSweeper:
    """Looks after uploads and unfinished runs."""

    def __init__(self, blobs: BlobStore, runs: Runs, intake: Intake, batches: Batches, clock: Clock) -> None:
        self._blobs = blobs
        self._runs = runs
        self._intake = intake
        self._batches = batches
        self._clock = clock
        self._known: set[str] = set()
        self._progress: dict[str, tuple[int, float]] = {}
        """Of a list that is being scored: shards that were done, and since when it is so many."""
        self._lock = threading.Lock()

    def sweep(self) -> Swept:
        """Look after everything once. A run that fails is logged and does not hold up the others."""
        with self._lock:
            started, failed = self._uploads()
            asked = 0
            open_runs = self._runs.unfinished()
            self._progress = {run.id: self._progress[run.id] for run in open_runs if run.id in self._progress}
            for run in open_runs:
                try:
                    asked += self._look_after(run)
                except PenstockError:
                    log.exception("run %s cannot be looked after", run.id)
                    failed += 1
            self._tidy({run.id for run in open_runs})
            return Swept(started, asked, failed)

    def _uploads(self) -> tuple[int, int]:
        """Runs that were started, and how much could not be looked after."""
        started = failed = 0
        for prefix in (UPLOADS, USER_LISTS):
            try:
                found = list(self._blobs.list(prefix))
            except PenstockError as error:
                log.error("%s cannot be listed, so only uploads of which an event tells get a run: %s", prefix, error)
                failed += 1
                continue
            begun, lost = start_each(found, self._start)
            started, failed = started + begun, failed + lost
        return started, failed

    def _start(self, info: BlobInfo) -> bool:
        """Whether the blob had no run and was old enough that it should."""
        id = upload_run(info)
        if id in self._known or self._clock.now() - info.modified < GRACE_S:
            return False
        try:
            self._runs.get(id)
            started = False
        except NotFound:
            (self._intake if info.name.startswith(UPLOADS) else self._batches).start(info)
            log.warning("the event of %s was lost; it has a run now", info.name)
            started = True
        # Not before: after an error the next sweep looks again.
        self._known.add(id)
        return started

    def _look_after(self, run: Run) -> int:
        """Messages sent."""
        now = self._clock.now()
        if now - run.asked_at < GRACE_S:
            return 0
        if run.kind == RunKind.TRAIN:
            if not self._intake.idle():
                return 0
            self._intake.ask(run.id)
            self._note(run, now)
            return 1
        if run.stage == Stage.RECEIVED:
            self._batches.cut(run)
            return 1
        return self._push(run, now)

    def _push(self, run: Run, now: float) -> int:
        """Join a list of which all is there; ask again where nothing moved for a while."""
        if self._batches.join(run):
            return 0
        done = self._batches.finished(run)
        before, since = self._progress.get(run.id, (-1, now))
        if done != before:
            self._progress[run.id] = done, now
            return 0
        if now - max(since, run.asked_at) < STALLED_S:
            return 0
        self._progress[run.id] = done, now
        self._note(run, now)
        return self._batches.ask_again(run)

    def _note(self, run: Run, now: float) -> None:
        self._runs.change(run.id, lambda found: msgspec.structs.replace(found, asked_at=now))

    def _tidy(self, unfinished: set[str]) -> None:
        for id in {info.name.split("/")[1] for info in self._blobs.list(SHARDS)} - unfinished:
            try:
                ended = self._runs.get(id).stage.is_end
            except NotFound:
                continue
            if ended:
                self._batches.clear(id)
