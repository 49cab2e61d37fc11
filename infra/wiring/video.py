"""The video worker's composition root: `python -m infra.wiring.video [--until-idle S]`.

Each worker takes messages of the one queue of films, a step at a time, and has it done by a child process of its own
(`infra.wiring.video_steps`): with nothing to do it stays small, and a decoder that crashes costs one try.
"""

import argparse
import logging
import sys
from datetime import timedelta
from functools import cached_property

from infra.azure.queues import AzureQueue
from infra.settings import Settings
from infra.wiring.jobs import configure_logging
from infra.wiring.steady import SteadyProcess
from infra.wiring.threads import run_workers
from models.contracts.videos import VideoMessage
from models.errors import Damaged, NotFound, PenstockError
from models.names import VIDEO_QUEUE
from models.style.runtimes import providers_of
from models.videowork import VideoWork
from models.worker import Work, Worker

log = logging.getLogger(__name__)


class Records:
    """What becomes of a job whose step fails. State and blobs are opened with the first failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def work(self) -> VideoWork:
        """On the settings of this process."""
        from infra.azure.blobs import AzureBlobs
        from infra.clock import SystemClock
        from infra.wiring.state import open_state
        from models.videos import Videos

        connection, clock = self._settings.data_storage.get_secret_value(), SystemClock()
        videos = Videos(open_state(self._settings), clock)
        return VideoWork(AzureBlobs(connection), videos, AzureQueue(connection, VIDEO_QUEUE), clock)

    def failed(self, message: VideoMessage, reason: str) -> None:
        """Note why a try failed: the last reason is that of the job, if no other try succeeds."""
        try:
            self.work.videos.set(message.job, error=f"{_step(message)}: {reason}")
        except PenstockError as error:
            log.warning("the failure of video %s is not noted: %s", message.job, error)

    def only_killed(self, message: VideoMessage) -> bool:
        """Whether no failure of the job was noted, of any step: then the machines that had this one went away."""
        try:
            return not self.work.videos.get(message.job).error
        except (NotFound, Damaged):
            return False

    def given_up(self, message: VideoMessage, reason: str) -> None:
        """End the job of a message that failed too often; `reason` says how often."""
        try:
            job = self.work.videos.get(message.job)
        except (NotFound, Damaged) as error:
            log.warning("the end of video %s is not noted: %s", message.job, error)
            return
        said = job.error or f"{_step(message)}: the workers that had it were killed"
        self.work.fail(message.job, f"gave up, {reason}; the last time: {said}")


def _step(message: VideoMessage) -> str:
    return f"segment {message.segment}" if message.kind == "segment" else message.kind


def workers(settings: Settings, *, idle_s: float | None = None) -> list[Worker[VideoMessage]]:
    """As many as the settings say. Raises ConfigurationError for a setting that films would fail by."""
    providers_of(settings.video_providers)
    connection = settings.data_storage.get_secret_value()
    records = Records(settings)

    def worker() -> Worker[VideoMessage]:
        child = SteadyProcess([sys.executable, "-m", "infra.wiring.video_steps"], stall_s=settings.video_stall_s)
        return Worker(
            AzureQueue(connection, VIDEO_QUEUE),
            AzureQueue(connection, f"{VIDEO_QUEUE}-poison"),
            Work("films", VideoMessage, child.start, records.given_up, records.failed, records.only_killed),
            lock=timedelta(seconds=settings.video_lock_s),
            idle_s=idle_s,
        )

    return [worker() for _ in range(max(1, settings.video_workers))]


def main(arguments: list[str]) -> int:
    """Run until SIGTERM or SIGINT; a step in work is given up and its message sent anew."""
    parser = argparse.ArgumentParser(prog="python -m infra.wiring.video", description=__doc__)
    parser.add_argument("--until-idle", type=float, metavar="S", help="end when there was no message for S seconds")
    given = parser.parse_args(arguments)
    configure_logging()
    settings = Settings()
    log.info("waiting for films in %s", VIDEO_QUEUE)
    return run_workers(workers(settings, idle_s=given.until_idle))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
