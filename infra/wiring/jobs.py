"""Jobs of the training worker in child processes: the worker's side of one, and what the child does.

An idle worker stays small, memory returns after a job, and a crash or kill of a job costs one try. The child is this
module: `python -m infra.wiring.jobs KIND`, request on standard input, outcome on standard output.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from infra.settings import Settings
from models.errors import BadInput, PenstockError, TryLater

_EXIT_BAD_INPUT: Final = 65
_EXIT_TRY_LATER: Final = 75
_KILL_AFTER_S: Final = 3


class JobProcess:
    """A job of one kind in a child process."""

    def __init__(self, kind: str, request: msgspec.Struct) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "infra.wiring.jobs", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._input: bytes | None = msgspec.json.encode(request)

    def wait(self, timeout_s: float) -> str | None:
        """The outcome, or None if it still runs. Raises what the job raised, or RuntimeError if it died."""
        try:
            # After a timeout the same call goes on where it stopped, without the input.
            output, _ = self._process.communicate(self._input, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self._input = None
            return None
        code = self._process.returncode
        message = output.decode(errors="replace").strip()
        if code == 0:
            return message
        if code == _EXIT_BAD_INPUT:
            raise BadInput(message)
        if code == _EXIT_TRY_LATER:
            raise TryLater(message)
        raise RuntimeError(f"job ended with {code}: {message}")

    def cancel(self) -> None:
        """Terminate the child if it still runs, and reap it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()


def svm(settings: Settings, request: bytes) -> str:
    """Train the One-Class SVMs of a TrainRequest."""
    from infra.azure.blobs import AzureBlobs
    from infra.clock import SystemClock
    from models.contracts import TrainRequest
    from models.registry import Registry
    from training.svm.fit import SvmOptions
    from training.svm.publish import Publishing
    from training.svm.requests import train

    blobs = AzureBlobs(settings.data_storage.get_secret_value())
    publishing = Publishing(
        registry=Registry(blobs, settings.model),
        spec=settings.spec,
        options=SvmOptions(min_windows=max(4, settings.train_min_windows)),
        clock=SystemClock(),
    )
    return str(train(msgspec.json.decode(request, type=TrainRequest), blobs, publishing))


def recommend(settings: Settings, request: bytes) -> str:
    """Do the training run of a RunRequest."""
    from infra.azure.blobs import AzureBlobs
    from infra.clock import SystemClock
    from infra.wiring.state import open_state
    from models.contracts.runs import RunRequest
    from models.registry import Registry
    from training.recommend.gate import Rule
    from training.recommend.run import HoldOut, Training

    blobs = AzureBlobs(settings.data_storage.get_secret_value())
    training = Training(
        blobs=blobs,
        state=open_state(settings),
        registry=Registry(blobs, settings.recommender),
        clock=SystemClock(),
        hub=settings.ratings_hub,
        rule=Rule(metric=settings.gate_metric, k=settings.gate_k, tolerance=settings.gate_tolerance),
        hold_out=HoldOut(ratio=settings.train_share),
    )
    return training.do(msgspec.json.decode(request, type=RunRequest).run)


JOBS: Final[dict[str, Callable[[Settings, bytes], str]]] = {"svm": svm, "recommend": recommend}


def _run_job(job: Callable[[Settings, bytes], str], settings: Settings, request: bytes) -> int:
    """Do `job`; its outcome, or what went wrong, goes to standard output. The exit code says which."""
    try:
        print(job(settings, request))
    except BadInput as error:
        print(error)
        return _EXIT_BAD_INPUT
    except PenstockError as error:  # storage away, or others came first too often: the message comes again
        print(error)
        return _EXIT_TRY_LATER
    return 0


def configure_logging() -> None:
    """Log lines on standard error, of the SDK only what matters."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("azure").setLevel(logging.WARNING)


def main(arguments: list[str]) -> int:
    """Do the one job that standard input asks for."""
    configure_logging()
    # Ctrl-C reaches the whole group: the parent decides when a job ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Scoring and windowing on the same machine come first.
    os.nice(10)
    (kind,) = arguments
    return _run_job(JOBS[kind], Settings(), sys.stdin.buffer.read())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
