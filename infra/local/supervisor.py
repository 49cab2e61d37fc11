"""Starts the parts of a local runtime in order, keeps them alive and stops them in reverse order.

A part that ends is started again, first at once, then with growing pauses. A part that stops answering is
killed and started again. Every part has a process group of its own and dies with the supervisor, however that ends.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from infra.local.home import PartState
from infra.local.logfile import LogFile, tail
from infra.local.probes import Health, Probe
from models.errors import PenstockError

_log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class PartFailed(PenstockError):
    """A part ended again and again before it was ready even once; the message holds its last words."""


class State(StrEnum):
    """Life of a part."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    BACKING_OFF = "backing-off"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A process to supervise. Parts of one `stage` start together, after all earlier stages are ready.

    Ready means: it printed a line that starts with `{"ready": true` (where `announces`), and `probe` finds it OK.
    """

    name: str
    command: Sequence[str]
    stage: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    announces: bool = False
    probe: Probe | None = None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Pauses and patience, in seconds."""

    first_restart_s: float = 0.1
    longest_restart_s: float = 5.0
    stable_after_s: float = 10.0
    """A part that was up for so long starts again with the first, short pause."""
    start_timeout_s: float = 60.0
    probe_every_s: float = 0.1
    """Between probes until a part is ready."""
    health_every_s: float = 5.0
    silent_limit_s: float = 30.0
    """A part that does not answer for so long is killed."""
    stop_grace_s: float = 10.0
    first_start_tries: int = 4


def restart_pause(timing: Timing, crashes: int) -> float:
    """Seconds to wait after the `crashes`-th end in a row (1, 2, ...)."""
    return min(timing.first_restart_s * 2.0 ** min(crashes - 1, 30), timing.longest_restart_s)


class Supervisor:
    """Runs `parts`; `changed` is called after every change of a state. One use: start, then stop."""

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        logs: Path,
        cwd: Path,
        changed: Callable[[], None] = lambda: None,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._timing = timing or Timing()
        self._keepers = [_Keeper(part, logs, cwd, changed, self._timing, clock, sleep) for part in parts]

    def states(self) -> list[PartState]:
        """Where every part stands, in start order."""
        return [keeper.state() for keeper in self._keepers]

    async def start(self) -> None:
        """Return when every part is ready. Raises PartFailed; the caller then calls `stop`."""
        for stage in self._stages():
            for keeper in stage:
                keeper.begin()
            await asyncio.gather(*(keeper.first_ready() for keeper in stage))

    async def stop(self) -> None:
        """End all parts, last stage first: SIGTERM, and SIGKILL for what is left after the grace time."""
        for stage in reversed(self._stages()):
            await asyncio.gather(*(keeper.end() for keeper in stage))

    def _stages(self) -> list[list["_Keeper"]]:
        numbers = sorted({keeper.part.stage for keeper in self._keepers})
        return [[keeper for keeper in self._keepers if keeper.part.stage == number] for number in numbers]


class _Keeper:
    """One part: its process, its log, its restarts."""

    def __init__(
        self,
        part: Part,
        logs: Path,
        cwd: Path,
        changed: Callable[[], None],
        timing: Timing,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.part = part
        self._log_path = logs / f"{part.name}.log"
        self._cwd, self._changed, self._timing, self._clock, self._sleep = cwd, changed, timing, clock, sleep
        self._state = State.WAITING
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self._restarts = 0
        self._started: float | None = None
        self._ready_once = asyncio.Event()

    def state(self) -> PartState:
        return PartState(
            name=self.part.name,
            state=self._state,
            pid=self._process.pid if self._process is not None and self._process.returncode is None else None,
            restarts=self._restarts,
            ports=dict(self.part.ports),
            started=self._started,
        )

    def begin(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.part.name}")

    async def first_ready(self) -> None:
        """Return when the part was ready once; raise what ended its keeping before that."""
        assert self._task is not None
        waiter = asyncio.create_task(self._ready_once.wait())
        try:
            await asyncio.wait({waiter, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
        if not self._ready_once.is_set() and not self._task.cancelled():
            self._task.result()

    async def end(self) -> None:
        self._ending = True
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), self._timing.stop_grace_s)
            if self._process is not None and self._process.returncode is None:
                _log.warning("%s did not stop in %g s: killed", self.part.name, self._timing.stop_grace_s)
                _signal_group(self._process.pid, signal.SIGKILL)
        if self._task is not None:
            if self._process is None:
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._enter(State.STOPPED)

    def _enter(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self._changed()

    async def _keep(self) -> None:
        crashes = 0
        log = LogFile(self._log_path)
        try:
            while not self._ending:
                began = self._clock()
                try:
                    ended = _ended(await self._run(log))
                except OSError as error:  # no process could be made: no memory or files left, or no such program
                    ended = f"not started: {error}"
                if self._ending:
                    return
                crashes = 1 if self._clock() - began >= self._timing.stable_after_s else crashes + 1
                if not self._ready_once.is_set() and crashes >= self._timing.first_start_tries:
                    raise PartFailed(self._last_words(ended))
                pause = restart_pause(self._timing, crashes)
                _log.warning("%s ended (%s); starting it again in %.1f s", self.part.name, ended, pause)
                await self._sleep(pause)
                self._restarts += 1
        finally:
            log.close()

    async def _run(self, log: LogFile) -> int:
        """Exit code of one life of the part."""
        # A pipe of our own: asyncio's `wait` would wait for the end of its pipes, which grandchildren may hold open.
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *self.part.command,
                env=dict(self.part.env),
                cwd=self._cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._process, self._started = process, time.time()
        self._enter(State.STARTING)
        announced = asyncio.Event()
        pump = asyncio.create_task(self._pump(read_end, log, announced))
        watch = asyncio.create_task(self._watch(process, announced))
        try:
            if self._ending:  # `end` came while the process was being made, and saw none
                _signal_group(process.pid, signal.SIGTERM)
            return await process.wait()
        finally:
            _signal_group(process.pid, signal.SIGKILL)  # children that it left behind
            watch.cancel()
            if not self._ending:
                self._enter(State.BACKING_OFF)
            # Its last words are in the pipe; a child that left its group could hold the pipe open for ever.
            await asyncio.wait({pump}, timeout=1.0)
            pump.cancel()
            await asyncio.gather(watch, pump, return_exceptions=True)
            self._process = None
            self._changed()

    async def _pump(self, read_end: int, log: LogFile, announced: asyncio.Event) -> None:
        """Copy output to the log until its end; set `announced` at the ready line."""
        output = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(read_end, "rb")
        )
        begun = b""
        lost = False
        try:
            while chunk := await output.read(65536):
                try:
                    log.write(chunk)
                except OSError as error:
                    # Go on reading: nobody else does, and with the pipe full the part would stand still.
                    if not lost:
                        _log.warning("%s: words of its log are lost: %s", self.part.name, error)
                    lost = True
                if self.part.announces and not announced.is_set():
                    *lines, begun = (begun + chunk).split(b"\n")
                    if any(line.startswith(b'{"ready":') and b"true" in line[:20] for line in lines):
                        announced.set()
        finally:
            transport.close()

    async def _watch(self, process: asyncio.subprocess.Process, announced: asyncio.Event) -> None:
        """Mark the part ready when it is; kill it when it takes too long or falls silent."""
        try:
            async with asyncio.timeout(self._timing.start_timeout_s):
                if self.part.announces:
                    await announced.wait()
                while self.part.probe and await self.part.probe() != Health.OK:
                    await asyncio.sleep(self._timing.probe_every_s)
        except TimeoutError:
            _log.warning("%s was not ready after %g s: killed", self.part.name, self._timing.start_timeout_s)
            _signal_group(process.pid, signal.SIGKILL)
            return
        self._ready_once.set()
        self._enter(State.READY)
        if self.part.probe is not None:
            await self._stay_healthy(process, self.part.probe)

    async def _stay_healthy(self, process: asyncio.subprocess.Process, probe: Probe) -> None:
        heard = time.monotonic()
        while True:
            await asyncio.sleep(self._timing.health_every_s)
            match await probe():
                case Health.OK:
                    heard = time.monotonic()
                    self._enter(State.READY)
                case Health.DEGRADED:
                    heard = time.monotonic()
                    self._enter(State.DEGRADED)
                case Health.SILENT:
                    self._enter(State.DEGRADED)
                    if time.monotonic() - heard > self._timing.silent_limit_s:
                        _log.warning("%s does not answer: killed", self.part.name)
                        _signal_group(process.pid, signal.SIGKILL)
                        return

    def _last_words(self, ended: str) -> str:
        words = "\n".join(tail(self._log_path, 12))
        return f"{self.part.name} does not start ({ended}). Its log, {self._log_path}, ends with:\n{words}"


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a zombie's group
        os.killpg(pid, number)


def _ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {-code}, {signal.strsignal(-code)}"


def _die_with(parent: int) -> Callable[[], None]:
    """For the child, before it executes: SIGKILL at the parent's end, and none if that is past already."""

    def arrange() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)

    return arrange
