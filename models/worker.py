"""Takes requests from a queue, one at a time, and runs each as a job with a life of its own."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

import msgspec

from models.errors import BadInput, ConfigurationError, Superseded, TryLater
from models.ports import QueueItem, TaskQueue

log = logging.getLogger(__name__)

MAX_TRIES = 5
MAX_KILLED = 20
"""Tries of a request none of whose tries is known to have failed: whoever had it was killed each time."""
_RETRY_AFTER = timedelta(seconds=5)
_FIRST_PAUSE_S = 0.05
_LONGEST_REST_S = 300.0

Request = TypeVar("Request", bound=msgspec.Struct)


class Job(Protocol):
    """A running job."""

    def wait(self, timeout_s: float) -> str | None:
        """What it led to, in a line for the log, or None if it still runs after `timeout_s`.

        Raises what it failed with; ConfigurationError if no fault is the request's, and this machine cannot do it.
        """
        ...

    def cancel(self) -> None:
        """End it now; nothing happens if it has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Work(Generic[Request]):
    """A kind of request: its form, and how its jobs start. A job bears being done twice."""

    name: str
    request: type[Request]
    start: Callable[[Request], Job]
    given_up: Callable[[Request, str], None] = lambda _request, _reason: None
    """Called with a request bound for the poison queue, and why, before it goes there; perhaps more than once."""
    failed: Callable[[Request, str], None] = lambda _request, _reason: None
    """Called after each try that failed, with what it failed with."""
    only_killed: Callable[[Request], bool] = lambda _request: False
    """Whether no try is known to have failed: all ended with their worker, through no fault of the request."""


class _Lock:
    """The lock of a message that is in work; `item` is the message as last renewed, which alone can be ended."""

    def __init__(self, queue: TaskQueue, item: QueueItem, lock: timedelta) -> None:
        self.item = item
        self.renew_every_s = lock.total_seconds() / 3
        self._queue = queue
        self._lock = lock
        self._renewed = time.monotonic()

    def keep(self) -> None:
        """Renew it if it is time. Raises Superseded if another worker has the message."""
        if time.monotonic() - self._renewed < self.renew_every_s:
            return
        try:
            self.item = self._queue.renew(self.item, self._lock)
            self._renewed = time.monotonic()
        except TryLater as error:
            log.warning("lock not renewed yet: %s", error)


class Worker(Generic[Request]):
    """Handles requests until stopped. At least once: a message goes only after its job.

    A message that is no request, or has failed five times, moves to the `poison` queue; after twenty tries at the
    latest. An empty queue is looked at again after pauses that grow to `poll_s`; with `idle_s` the worker ends when
    it did nothing for so long. Where the machine is at fault the message goes back for other workers, as if it had
    not been tried, and this one rests: for `rest_s`, twice as long each time until a job succeeds, at most 5 minutes.
    """

    def __init__(
        self,
        queue: TaskQueue,
        poison: TaskQueue,
        work: Work[Request],
        *,
        lock: timedelta = timedelta(seconds=60),
        poll_s: float = 1.0,
        idle_s: float | None = None,
        rest_s: float = 5.0,
    ) -> None:
        self._queue = queue
        self._poison = poison
        self._work = work
        self._lock = lock
        self._poll_s = poll_s
        self._idle_s = idle_s
        self._first_rest_s = self._rest_s = rest_s
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask `run` to return; a job in progress is cancelled and its message sent anew, for another worker."""
        self._stopping.set()

    def run(self) -> None:
        """Handle requests until `stop`, or until none was done for `idle_s`. Storage that is away is waited for."""
        pause_s, worked = _FIRST_PAUSE_S, time.monotonic()
        while not self._stopping.is_set():
            try:
                busy = self.step()
            except TryLater as error:
                log.warning("storage is away: %s", error)
                busy = False
            if busy:
                pause_s, worked = _FIRST_PAUSE_S, time.monotonic()
                continue
            if self._idle_s is not None and time.monotonic() - worked >= self._idle_s:
                return
            self._stopping.wait(min(pause_s, self._poll_s))
            pause_s = min(2 * pause_s, self._poll_s)

    def step(self) -> bool:
        """Handle one message; False if there was none, or none that this machine could do."""
        item = self._queue.receive(self._lock)
        if item is None:
            return False
        try:
            request = msgspec.json.decode(item.body, type=self._work.request)
        except msgspec.DecodeError as error:
            self._set_aside(item, f"not a request for {self._work.name}: {error}")
            return True
        tries = item.dequeue_count - 1
        if tries >= MAX_KILLED or (tries >= MAX_TRIES and not self._work.only_killed(request)):
            self._give_up(item, request, f"failed {tries} times")
            return True
        return self._handle(item, request)

    def _handle(self, item: QueueItem, request: Request) -> bool:
        """Whether the request was tried; False if the worker rested because this machine cannot do it."""
        begun = time.monotonic()
        job = self._work.start(request)
        lock = _Lock(self._queue, item, self._lock)
        try:
            outcome = self._await(lock, job)
        except Superseded:
            log.warning("%s: lost the message, another worker has it", self._work.name)
            return True
        except BadInput as error:
            self._give_up(lock.item, request, str(error))
            return True
        except ConfigurationError as error:
            self._work.failed(request, str(error))
            self._send_anew(lock.item)
            self._rest(str(error))
            return False
        except Exception as error:  # a job's bug or crash must not end the worker; five tries, then poison
            log.error("%s failed (try %d): %s", self._work.name, item.dequeue_count, error)
            self._work.failed(request, str(error))
            self._release(lock.item, _RETRY_AFTER)
            return True
        finally:
            job.cancel()
        if outcome is None:
            self._send_anew(lock.item)
            return True
        self._queue.delete(lock.item)
        self._rest_s = self._first_rest_s
        log.info("%s in %.1f s", outcome, time.monotonic() - begun)
        return True

    def _await(self, lock: "_Lock", job: Job) -> str | None:
        """The outcome; None if the worker stops first."""
        while not self._stopping.is_set():
            outcome = job.wait(min(0.5, lock.renew_every_s))
            if outcome is not None:
                return outcome
            lock.keep()
        return None

    def _send_anew(self, item: QueueItem) -> None:
        """Rather than free it: a message whose workers are stopped, or cannot work, has not failed once."""
        self._queue.send(item.body)
        self._queue.delete(item)

    def _rest(self, reason: str) -> None:
        """So that a machine that can do nothing does not take one message after the other."""
        log.error(
            "%s: a request goes back to the queue and this worker rests for %g s: %s",
            self._work.name,
            self._rest_s,
            reason,
        )
        self._stopping.wait(self._rest_s)
        self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)

    def _release(self, item: QueueItem, after: timedelta) -> None:
        try:
            self._queue.renew(item, after)
        except Superseded:
            log.warning("%s: message %s was lost, another worker has it", self._work.name, item.id)

    def _give_up(self, item: QueueItem, request: Request, reason: str) -> None:
        self._work.given_up(request, reason)
        self._set_aside(item, reason)

    def _set_aside(self, item: QueueItem, reason: str) -> None:
        log.error("%s: message %s set aside: %s", self._work.name, item.id, reason)
        self._poison.send(item.body)
        self._queue.delete(item)
