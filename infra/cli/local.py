"""`penstock down` and `penstock logs`."""

import os
import time
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from infra.cli import output
from infra.local.home import Home
from infra.local.logfile import tail
from models.errors import NotFound

_FOLLOW_POLL_S = 0.2


def down(
    wipe: Annotated[bool, typer.Option("--wipe", help="Delete the data folder's contents as well.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Stop the local runtime; with --wipe forget its data."""
    from infra.cli.launch import stop_running

    home = Home.default()
    was_running = stop_running(home)
    if wipe:
        home.wipe()
    if as_json:
        output.print_json({"home": str(home.root), "was_running": was_running, "wiped": wipe})
        return
    said = "stopped" if was_running else "was not running"
    output.stdout.print(f"Penstock {said} ({home.root}){'; data deleted' if wipe else ''}")


def logs(
    part: Annotated[
        str | None, typer.Argument(help="azurite, hub, functions, stream, trainer, video, supervisor.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("-n", min=0, help="Lines to begin with, per part.")] = 20,
    as_json: output.AsJson = False,
) -> None:
    """Show the logs of one part, or of all."""
    home = Home.default()
    paths = sorted(home.logs.glob("*.log"))
    if part is not None:
        paths = [path for path in paths if path.stem == part]
    if not paths:
        known = ", ".join(sorted(path.stem for path in home.logs.glob("*.log"))) or "none"
        raise NotFound(f"no log {f'of {part!r} ' if part else ''}in {home.logs}; there are: {known}")
    if as_json:
        output.print_json({path.stem: tail(path, lines) for path in paths})
    else:
        for path in paths:
            for line in tail(path, lines):
                _print(path, line, named=part is None)
    if follow:
        _follow(paths, named=part is None)


def _follow(paths: list[Path], *, named: bool) -> None:
    """Print what is appended, also after a rotation, until interrupted."""
    followers = [_Follower(path) for path in paths]
    while True:
        for follower in followers:
            for line in follower.new_lines():
                _print(follower.path, line, named=named)
        time.sleep(_FOLLOW_POLL_S)


class _Follower:
    """Reads what is appended to a log from now on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = path.open("rb")
        self._file.seek(0, os.SEEK_END)
        self._rest = b""

    def new_lines(self) -> list[str]:
        *lines, self._rest = (self._rest + self._read()).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def _read(self) -> bytes:
        appended = self._file.read() if self._file else b""
        if not appended and not self._is_current():
            if self._file:
                self._file.close()
            try:
                self._file = self.path.open("rb")
            except FileNotFoundError:
                self._file = None
        return appended

    def _is_current(self) -> bool:
        try:
            return self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False


def _print(path: Path, line: str, *, named: bool) -> None:
    prefix = f"{path.stem:>10} | " if named else ""
    print(f"{prefix}{line}", flush=True)
