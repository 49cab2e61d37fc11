"""A child process that does one request after another, seen from its worker.

Beside `infra.wiring.jobs`, whose children do one job and end: what this one has loaded for a request serves the next.
Requests go to its standard input, a line of JSON each; on its standard output an empty line says that it makes
headway, any other line is an `Answer`.
"""

import logging
import os
import select
import signal
import subprocess
import time
from typing import Final

import msgspec

from models.errors import ConfigurationError

log = logging.getLogger(__name__)

_END_WITHIN_S: Final = 3


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a request ended: with an outcome, or with an error that another try may not meet."""

    outcome: str = ""
    error: str = ""
    of_machine: bool = False
    """Whether the error is this machine's: nothing was seen to be wrong with the request."""


class SteadyProcess:
    """Starts the child when there is a request and none lives. One thread uses it; one request at a time."""

    def __init__(self, command: list[str], *, stall_s: float) -> None:
        self._command = command
        self._stall_s = stall_s
        self._process: subprocess.Popen[bytes] | None = None
        self._read = b""

    def start(self, request: msgspec.Struct) -> "SteadyJob":
        """Hand the request to the child."""
        line = msgspec.json.encode(request) + b"\n"
        self.send(line)
        return SteadyJob(self, line, self._stall_s)

    def send(self, line: bytes) -> None:
        """Hand the line to the child that lives, or to a new one."""
        try:
            self._write(line)
        except BrokenPipeError:  # it had nothing to do for long and ended, just now
            self.end()
            self._write(line)

    def _write(self, line: bytes) -> None:
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def line(self, timeout_s: float) -> bytes | None:
        """The next line of the child, None if there is none in time. Raises EOFError with its end."""
        assert self._process is not None
        assert self._process.stdout is not None
        end = self._read.find(b"\n")
        if end < 0:
            if not select.select([self._process.stdout], [], [], timeout_s)[0]:
                return None
            more = os.read(self._process.stdout.fileno(), 65536)
            if not more:
                raise EOFError
            self._read += more
            return self.line(0)
        line, self._read = self._read[:end], self._read[end + 1 :]
        return line

    def end(self) -> int:
        """Kill the child if it lives: it has nothing to put in order. Its exit code, 0 if there was none."""
        process, self._process, self._read = self._process, None, b""
        if process is None:
            return 0
        if process.poll() is None:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                log.debug("a request was not read")
        return process.wait()

    def ended(self) -> int:
        """Exit code of a child that closed its output."""
        assert self._process is not None
        try:
            self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            log.warning("the child closed its output and did not end")
        return self.end()


class SteadyJob:
    """A request in work: a `models.worker.Job`."""

    def __init__(self, child: SteadyProcess, line: bytes, stall_s: float) -> None:
        self._child = child
        self._line = line
        self._stall_s = stall_s
        self._heard = time.monotonic()
        self._answered = False
        self._again = False

    def wait(self, timeout_s: float) -> str | None:
        """The outcome, or None if it is still in work. Raises RuntimeError if it failed, died or makes no headway,
        ConfigurationError if this machine is at fault.

        After a failure the next request has a new child: what this one holds, on a GPU say, may be what failed.
        """
        until = time.monotonic() + timeout_s
        while True:
            try:
                line = self._child.line(max(0.0, until - time.monotonic()))
            except EOFError:
                code = self._child.ended()
                if code == 0 and not self._again:  # for want of work, while the request was on its way to it
                    self._again = True
                    self._child.send(self._line)
                    continue
                self._answered = True
                raise RuntimeError(f"the process that worked on it {_end(code)}") from None
            if line:
                answer = msgspec.json.decode(line, type=Answer)
                if answer.error:
                    self.cancel()
                    raise (ConfigurationError if answer.of_machine else RuntimeError)(answer.error)
                self._answered = True
                return answer.outcome
            if line is None:
                break
            self._heard = time.monotonic()
        if time.monotonic() - self._heard > self._stall_s:
            self.cancel()
            raise RuntimeError(f"no headway for {self._stall_s:g} s")
        return None

    def cancel(self) -> None:
        """End the child unless it has answered; what it did so far is done again, or stands."""
        if not self._answered:
            self._answered = True
            self._child.end()


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    names = {each.value: each.name for each in signal.Signals}
    return f"was killed ({names.get(-code, f'signal {-code}')})"
