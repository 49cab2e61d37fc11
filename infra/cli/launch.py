"""Starts and stops the supervisor's process."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.cli.context import check_settings
from infra.local import azurite
from infra.local.home import REPOSITORY, Home, RuntimeState
from infra.local.logfile import tail
from infra.local.parts import FunctionsHost
from infra.local.runtime import EXIT_ALREADY_RUNNING
from infra.local.runtime_ports import RuntimePorts
from models.errors import ConfigurationError, Conflict, PenstockError

_PR_SET_PDEATHSIG = 1
# The first start of all parts on a slow machine; each part has its own, shorter limit.
START_TIMEOUT_S = 240.0
# Two stages of parts, ten seconds of grace each, and some room.
STOP_TIMEOUT_S = 30.0


class StartFailed(PenstockError):
    """The local runtime did not start; the message says which part and why."""


@dataclass(frozen=True)
class Launched:
    """A runtime that this process started."""

    home: Home
    process: subprocess.Popen[bytes]

    def alive(self) -> bool:
        """Whether its supervisor still runs."""
        return self.process.poll() is None

    def stop(self) -> None:
        """Stop all parts in good order and return when they are gone."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT_S)
        if self.alive():
            self.process.kill()  # its parts die with it
            self.process.wait()


def install_azurite() -> None:
    """Put Azurite in place where it is missing. Raises ConfigurationError with the remedy."""
    try:
        azurite.node()
        azurite.install()
    except azurite.AzuriteUnavailable as error:
        raise ConfigurationError(str(error)) from error


def launch(
    home: Home,
    ports: RuntimePorts,
    *,
    host: FunctionsHost = FunctionsHost.EMBEDDED,
    settings: Mapping[str, str] | None = None,
    attached: bool = True,
    changed: Callable[[RuntimeState], None] = lambda state: None,
) -> Launched:
    """Start a runtime and return when all parts are ready.

    `settings` are environment variables for its parts. An `attached` one stops when this process ends, however it
    ends. `changed` is told of every new state meanwhile. Raises Conflict when one runs there already, StartFailed.
    """
    if home.locked():
        raise Conflict(f"Penstock is already running in {home.root}")
    check_settings({**os.environ, **(settings or {})})
    home.logs.mkdir(parents=True, exist_ok=True)
    ports_given = [text for name, port in ports.named().items() for text in (_option(name), str(port))]
    with (home.logs / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local.runtime", "--home", str(home.root), "--host", host, *ports_given],
            cwd=REPOSITORY,
            env={**os.environ, **(settings or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us, and we stop it in good order
            preexec_fn=_stop_with_parent if attached and sys.platform == "linux" else None,
        )
    launched = Launched(home, process)
    try:
        _await_ready(launched, changed)
    except BaseException:
        launched.stop()
        raise
    return launched


def await_stopped(home: Home) -> None:
    """Return when a runtime that is on its way down is gone. Raises StartFailed if it does not end."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while home.locked():
        if time.monotonic() > deadline:
            raise StartFailed(f"the runtime that was stopping in {home.root} does not end (penstock down)")
        time.sleep(0.05)


def stop_running(home: Home) -> bool:
    """Stop whatever runtime runs in `home`; False when none does."""
    state = home.running()
    if state is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.supervisor, number)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while home.locked() and time.monotonic() < deadline:
            time.sleep(0.05)
        if not home.locked():
            return True
    raise StartFailed(f"the supervisor, process {state.supervisor}, does not end")


def _await_ready(launched: Launched, changed: Callable[[RuntimeState], None]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    seen: RuntimeState | None = None
    while time.monotonic() < deadline:
        alive = launched.alive()
        state = launched.home.read_state()
        if state is not None and state.supervisor == launched.process.pid and state != seen:
            seen = state
            changed(state)
        if seen is not None and seen.state == "ready":
            return
        if launched.process.returncode == EXIT_ALREADY_RUNNING:  # started at the same moment as this one
            raise Conflict(f"Penstock is already running in {launched.home.root}")
        if not alive:
            words = "\n".join(tail(launched.home.logs / "supervisor.log", 5))
            raise StartFailed(seen.error if seen is not None and seen.error else f"the supervisor ended: {words}")
        time.sleep(0.05)
    raise StartFailed(f"not ready after {START_TIMEOUT_S:g} s; see {launched.home.logs}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}-port"


def _stop_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
