"""The data folder of a local runtime: where things lie, who owns it, and what runs in it right now."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from models.errors import ConfigurationError, Conflict

REPOSITORY = Path(__file__).resolve().parents[2]
HOME_VARIABLE = "PENSTOCK_HOME"


class PartState(msgspec.Struct, frozen=True, kw_only=True):
    """One supervised part. `started` is in epoch seconds; `pid` is None while it waits for its restart."""

    name: str
    state: str
    pid: int | None
    restarts: int
    ports: dict[str, int]
    started: float | None


class RuntimeState(msgspec.Struct, frozen=True, kw_only=True):
    """What `run/state.json` holds. `environment` is what clients need to reach this runtime."""

    version: int = 1
    state: str
    supervisor: int
    started: float
    host: str
    ports: dict[str, int]
    environment: dict[str, str]
    parts: list[PartState]
    error: str | None = None


@dataclass(frozen=True)
class Home:
    """A data folder: `data/` survives restarts, `logs/` and `run/` belong to the running processes."""

    root: Path

    @classmethod
    def default(cls) -> "Home":
        """`PENSTOCK_HOME`, else `.penstock` in the repository."""
        return cls(Path(os.environ.get(HOME_VARIABLE) or REPOSITORY / ".penstock").resolve())

    @property
    def data(self) -> Path:
        """Everything that must survive: Azurite's files, the hub's log, the state store."""
        return self.root / "data"

    @property
    def functions(self) -> Path:
        """The embedded Functions host's own: `keys.json` holds the keys of the HTTP API."""
        return self.data / "functions"

    @property
    def logs(self) -> Path:
        """One rotated log per part."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """State file, lock and scratch of the running parts."""
        return self.root / "run"

    def write_state(self, state: RuntimeState) -> None:
        """Replace the state file in one step: a reader sees the old one or the new one."""
        self.run.mkdir(parents=True, exist_ok=True)
        fresh = self.run / "state.json.new"
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
        fresh.replace(self.run / "state.json")

    def read_state(self) -> RuntimeState | None:
        """What the last supervisor wrote; None if there never was one. It may be dead: see `running`."""
        try:
            return msgspec.json.decode((self.run / "state.json").read_bytes(), type=RuntimeState)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def running(self) -> RuntimeState | None:
        """State of the living supervisor, or None when nobody holds the lock."""
        return self.read_state() if self.locked() else None

    def locked(self) -> bool:
        """Whether a supervisor lives on this folder."""
        try:
            file = (self.run / "lock").open("rb")
        except FileNotFoundError:
            return False
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    @contextlib.contextmanager
    def lock(self, *, patience_s: float = 1.0) -> Iterator[None]:
        """Own the folder while the block runs. Raises Conflict when another supervisor does.

        It waits for `patience_s`, since `locked` holds a shared lock for an instant.
        """
        self.run.mkdir(parents=True, exist_ok=True)
        with (self.run / "lock").open("ab") as file:
            deadline = time.monotonic() + patience_s
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as held:
                    if time.monotonic() > deadline:
                        raise Conflict(f"Penstock is already running in {self.root}") from held
                    time.sleep(0.02)
            yield

    def wipe(self) -> None:
        """Delete data, logs and run files. Raises ConfigurationError where they belong to a living runtime.

        Nothing else in the folder is touched, so a mistyped PENSTOCK_HOME costs nobody his files.
        """
        if self.locked():
            raise ConfigurationError(f"Penstock still runs in {self.root}; stop it first: penstock down")
        for folder in (self.data, self.logs, self.run):
            shutil.rmtree(folder, ignore_errors=True)
