"""The training worker's composition root: `python -m infra.wiring.training`.

Each request runs in a child process (`--job`, request on standard input, outcome on standard output), so that an
idle worker stays small, memory returns after a job, and a crash or kill of a job costs one try.
"""

import logging
import os
import signal
import subprocess
import sys
from typing import Final

import msgspec

from infra.azure.blobs import AzureBlobs
from infra.azure.queues import AzureQueue
from infra.clock import SystemClock
from infra.settings import Settings
from models.contracts import TrainRequest
from models.errors import BadInput, PenstockError, TryLater
from models.names import TRAIN_QUEUE
from models.registry import Registry
from training.svm.fit import SvmOptions
from training.svm.publish import Publishing
from training.worker import Outcome, Worker, train

log = logging.getLogger(__name__)

POISON_QUEUE: Final = f"{TRAIN_QUEUE}-poison"
_EXIT_BAD_INPUT: Final = 65
_EXIT_TRY_LATER: Final = 75
_KILL_AFTER_S: Final = 3


class JobProcess:
    """A training job in a child process."""

    def __init__(self, request: TrainRequest) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "infra.wiring.training", "--job"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._input: bytes | None = msgspec.json.encode(request)

    def wait(self, timeout_s: float) -> Outcome | None:
        """The outcome, or None if it still runs. Raises what the job raised, or RuntimeError if it died."""
        try:
            # After a timeout the same call goes on where it stopped, without the input.
            output, _ = self._process.communicate(self._input, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self._input = None
            return None
        code = self._process.returncode
        if code == 0:
            return msgspec.json.decode(output, type=Outcome)
        message = output.decode(errors="replace").strip()
        if code == _EXIT_BAD_INPUT:
            raise BadInput(message)
        if code == _EXIT_TRY_LATER:
            raise TryLater(message)
        raise RuntimeError(f"training process ended with {code}: {message}")

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


def publishing(settings: Settings, blobs: AzureBlobs) -> Publishing:
    """How this installation's models are trained and registered."""
    return Publishing(
        registry=Registry(blobs, settings.model),
        spec=settings.spec,
        options=SvmOptions(min_windows=max(4, settings.train_min_windows)),
        clock=SystemClock(),
    )


def run_job(settings: Settings, request: bytes) -> int:
    """Train one request; the outcome, or what went wrong, goes to standard output. The exit code says which."""
    blobs = AzureBlobs(settings.data_storage.get_secret_value())
    try:
        outcome = train(msgspec.json.decode(request, type=TrainRequest), blobs, publishing(settings, blobs))
    except BadInput as error:
        print(error)
        return _EXIT_BAD_INPUT
    except PenstockError as error:  # storage away, or others came first too often: the message comes again
        print(error)
        return _EXIT_TRY_LATER
    print(msgspec.json.encode(outcome).decode())
    return 0


def main() -> int:
    """Run until SIGTERM or SIGINT; a job in progress is cancelled and its message freed."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("azure").setLevel(logging.WARNING)
    settings = Settings()
    if sys.argv[1:] == ["--job"]:
        # Ctrl-C reaches the whole group: the parent decides when a job ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Scoring and windowing on the same machine come first.
        os.nice(10)
        return run_job(settings, sys.stdin.buffer.read())
    connection = settings.data_storage.get_secret_value()
    worker = Worker(AzureQueue(connection, TRAIN_QUEUE), AzureQueue(connection, POISON_QUEUE), JobProcess)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: worker.stop())
    log.info("waiting for training requests in %s", TRAIN_QUEUE)
    worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
