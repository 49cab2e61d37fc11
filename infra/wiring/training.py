"""The training worker's composition root: `python -m infra.wiring.training`.

One queue per kind of request, each drained by a thread of its own: a long fit does not hold up the models of new
devices. Every request runs in a child process (`infra.wiring.jobs`).
"""

import logging
import sys
from datetime import timedelta
from functools import partial

from infra.azure.queues import AzureQueue
from infra.settings import Settings
from infra.wiring.jobs import JobProcess, configure_logging
from infra.wiring.threads import run_workers
from models.contracts import TrainRequest
from models.contracts.runs import RunRequest
from models.names import RECOMMEND_QUEUE, TRAIN_QUEUE
from models.worker import Request, Work, Worker

log = logging.getLogger(__name__)


def workers(settings: Settings) -> "list[Worker[TrainRequest] | Worker[RunRequest]]":
    """One worker per kind of request."""

    def worker(queue: str, work: Work[Request]) -> Worker[Request]:
        connection = settings.data_storage.get_secret_value()
        lock = timedelta(seconds=settings.train_lock_s)
        return Worker(AzureQueue(connection, queue), AzureQueue(connection, f"{queue}-poison"), work, lock=lock)

    return [
        worker(TRAIN_QUEUE, Work("device models", TrainRequest, partial(JobProcess, "svm"))),
        worker(
            RECOMMEND_QUEUE,
            Work("recommender", RunRequest, partial(JobProcess, "recommend"), partial(_give_up, settings)),
        ),
    ]


def _give_up(settings: Settings, request: RunRequest, reason: str) -> None:
    from infra.clock import SystemClock
    from infra.wiring.state import open_state
    from models.contracts.runs import Stage
    from models.errors import NotFound
    from models.runs import Runs

    runs = Runs(open_state(settings), SystemClock())
    try:
        runs.advance(request.run, Stage.FAILED, f"{reason}; its log says why")
    except NotFound:
        log.warning("run %s has no record", request.run)


def main() -> int:
    """Run until SIGTERM or SIGINT; jobs in progress are cancelled and their messages freed."""
    configure_logging()
    log.info("waiting for requests in %s and %s", TRAIN_QUEUE, RECOMMEND_QUEUE)
    return run_workers(workers(Settings()))


if __name__ == "__main__":
    sys.exit(main())
