"""Takes training requests from a queue, one at a time, and runs each as a job with a life of its own."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import msgspec

from models.contracts import TrainRequest
from models.errors import BadInput, Superseded, TryLater
from models.ports import BlobStore, QueueItem, TaskQueue
from training.history import archived_readings, filter_readings, windows_by_series
from training.svm.fit import Refusal, fit_fleet
from training.svm.publish import Publishing

log = logging.getLogger(__name__)

MAX_TRIES = 5
_RETRY_AFTER = timedelta(seconds=5)
_SHOWN = 5


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a request led to. `version` is None where nothing new was promoted."""

    version: str | None
    fitted: int
    skipped: int
    """Series that had a model already."""
    refused: list[Refusal]


def train(request: TrainRequest, blobs: BlobStore, publishing: Publishing) -> Outcome:
    """Fit the series of `request` that the live bank lacks, on the raw archive, and promote them beside the others.

    Replay is harmless: what was promoted by an earlier delivery is skipped by the next one. Series with too few
    windows stay refused until asked for again.
    """
    if request.spec != publishing.spec.name:
        raise BadInput(f"asked for {request.spec} windows, this worker trains on {publishing.spec.name}")
    base = publishing.live_base(publishing.registry.aliases().aliases.live)
    known = set(base.weights.series) if base else set()
    asked = set(request.series)
    wanted = asked - known
    if not wanted:
        return Outcome(version=None, fitted=0, skipped=len(asked), refused=[])
    readings = archived_readings(blobs, request.hub, lambda chunk: filter_readings(chunk, wanted))
    sets = windows_by_series(readings, publishing.spec, max_windows=publishing.options.max_windows)
    fleet = fit_fleet(sets, publishing.options)
    seen = {windows.series for windows in sets}
    missing = [Refusal(*series, 0, "has no readings in the archive") for series in sorted(wanted - seen)]
    if not fleet.fitted:
        return Outcome(version=None, fitted=0, skipped=len(asked & known), refused=missing + fleet.refused)
    registered = publishing.publish(fleet, promote=True)
    return Outcome(
        version=registered.manifest.version,
        fitted=len(registered.report.fitted),
        skipped=len(asked & known),
        refused=missing + registered.report.refused,
    )


class Job(Protocol):
    """A running training job."""

    def wait(self, timeout_s: float) -> Outcome | None:
        """The outcome, or None if it still runs after `timeout_s`. Raises what the job failed with."""
        ...

    def cancel(self) -> None:
        """End it now; nothing happens if it has ended."""
        ...


class Worker:
    """Handles requests until stopped. At least once: a message goes only after its job, and `train` bears replays.

    A message that is no request, or has failed five times, moves to the `poison` queue.
    """

    def __init__(
        self,
        queue: TaskQueue,
        poison: TaskQueue,
        start: Callable[[TrainRequest], Job],
        *,
        lock: timedelta = timedelta(seconds=60),
        poll_s: float = 1.0,
    ) -> None:
        self._queue = queue
        self._poison = poison
        self._start = start
        self._lock = lock
        self._poll_s = poll_s
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask `run` to return; a job in progress is cancelled and its message freed for another worker."""
        self._stopping.set()

    def run(self) -> None:
        """Handle requests until `stop`. While storage is away it waits and tries again."""
        while not self._stopping.is_set():
            try:
                busy = self.step()
            except TryLater as error:
                log.warning("storage is away: %s", error)
                busy = False
            if not busy:
                self._stopping.wait(self._poll_s)

    def step(self) -> bool:
        """Handle one message; False if there was none."""
        item = self._queue.receive(self._lock)
        if item is None:
            return False
        try:
            request = msgspec.json.decode(item.body, type=TrainRequest)
        except msgspec.DecodeError as error:
            self._set_aside(item, f"not a training request: {error}")
            return True
        if item.dequeue_count > MAX_TRIES:
            self._set_aside(item, f"failed {MAX_TRIES} times")
            return True
        self._handle(item, request)
        return True

    def _handle(self, item: QueueItem, request: TrainRequest) -> None:
        begun = time.monotonic()
        job = self._start(request)
        try:
            item, outcome = self._await(item, job)
        except Superseded:
            log.warning("training of %d series: lost the message, another worker has it", len(request.series))
            return
        except BadInput as error:
            self._set_aside(item, str(error))
            return
        except Exception as error:  # a job's bug or crash must not end the worker; five tries, then poison
            log.error("training of %d series failed (try %d): %s", len(request.series), item.dequeue_count, error)
            self._release(item, _RETRY_AFTER)
            return
        finally:
            job.cancel()
        if outcome is None:
            self._release(item, timedelta(0))
            return
        self._queue.delete(item)
        log.info("%s in %.1f s", _summary(outcome), time.monotonic() - begun)

    def _await(self, item: QueueItem, job: Job) -> tuple[QueueItem, Outcome | None]:
        """The outcome, with the message as last renewed; None as outcome if the worker stops first."""
        renew_every = self._lock.total_seconds() / 3
        renewed = time.monotonic()
        while not self._stopping.is_set():
            outcome = job.wait(min(0.5, renew_every))
            if outcome is not None:
                return item, outcome
            if time.monotonic() - renewed >= renew_every:
                try:
                    item = self._queue.renew(item, self._lock)
                    renewed = time.monotonic()
                except TryLater as error:
                    log.warning("lock not renewed yet: %s", error)
        return item, None

    def _release(self, item: QueueItem, after: timedelta) -> None:
        try:
            self._queue.renew(item, after)
        except Superseded:
            log.warning("training message %s: the lock was lost, another worker has it", item.id)

    def _set_aside(self, item: QueueItem, reason: str) -> None:
        log.error("training message %s set aside: %s", item.id, reason)
        self._poison.send(item.body)
        self._queue.delete(item)


def _summary(outcome: Outcome) -> str:
    shown = "; ".join(f"{r.device}/{r.sensor} {r.reason}" for r in outcome.refused[:_SHOWN])
    return (
        f"trained {outcome.fitted} series, skipped {outcome.skipped}, refused {len(outcome.refused)}"
        f"{f' ({shown})' if shown else ''}, live version {outcome.version or 'unchanged'}"
    )
