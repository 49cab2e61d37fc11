"""Triggers of the recommender's runs: uploads, schedules, lists of users, and what came of them.

Handlers, and all they need, are imported when a trigger first fires, as in `functions.telemetry`.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

from functions.answers import answer, query_of
from functions.triggers import STORAGE, put_off, taking
from models.names import SHARD_QUEUE, UPLOADS, USER_LISTS

if TYPE_CHECKING:
    from functions.runs.services import RunServices

log = logging.getLogger(__name__)


def pipeline(services: Callable[[], "RunServices"], *, sweep_schedule: str, retrain_schedule: str) -> func.Blueprint:
    """The blueprint; schedules are NCRONTAB with seconds. `services` is called in every invocation, so it caches."""
    blueprint = func.Blueprint()
    _add_uploads(blueprint, services)
    _add_timers(blueprint, services, sweep_schedule, retrain_schedule)
    _add_http(blueprint, services)
    return blueprint


def _add_uploads(blueprint: func.Blueprint, services: Callable[[], "RunServices"]) -> None:
    # Event Grid, not polling: Azure's own scan of a container may take minutes.
    @blueprint.blob_trigger(
        arg_name="upload", path=f"{UPLOADS}{{name}}", connection=STORAGE, source=func.BlobSource.EVENT_GRID
    )
    def receive_ratings(upload: func.InputStream) -> None:
        """At least once per version of a blob; the run's id depends on that version alone."""
        services().intake.receive(str(upload.name))

    @blueprint.blob_trigger(
        arg_name="upload", path=f"{USER_LISTS}{{name}}", connection=STORAGE, source=func.BlobSource.EVENT_GRID
    )
    def receive_users(upload: func.InputStream) -> None:
        """At least once per version of a blob; shards and results are created once."""
        services().batches.receive(str(upload.name))

    @blueprint.queue_trigger(arg_name="msg", queue_name=SHARD_QUEUE, connection=STORAGE)
    def recommend_shard(msg: func.QueueMessage) -> None:
        """At least once per shard, in any order; its result is created once."""
        with taking(msg):
            services().batches.score(msg.get_body())


def _add_timers(
    blueprint: func.Blueprint, services: Callable[[], "RunServices"], sweep_schedule: str, retrain_schedule: str
) -> None:
    # At every start too, as the sweep of the telemetry path, and for the same reason.
    @blueprint.timer_trigger(arg_name="timer", schedule=sweep_schedule, run_on_startup=True, use_monitor=False)
    def sweep_runs(timer: func.TimerRequest) -> None:
        """On schedule on one instance, and at every start."""
        with put_off("sweep of runs"):
            swept = services().sweeper.sweep()
            if swept.started or swept.asked or swept.failed:
                log.info("%s", swept)

    @blueprint.timer_trigger(arg_name="timer", schedule=retrain_schedule, use_monitor=True)
    def retrain(timer: func.TimerRequest) -> None:
        """On schedule, and once more after a start that missed it. Trains only if there is enough new feedback."""
        from functions.runs.schedule import retrain_on_feedback

        here = services()
        id = retrain_on_feedback(
            here.blobs, here.runs, here.intake, here.clock,
            model=here.model, hub=here.feedback_hub, min_events=here.retrain_min_feedback,
        )  # fmt: skip
        log.info("retraining: run %s", id) if id else log.info("retraining: not enough new feedback, or one runs")


def _add_http(blueprint: func.Blueprint, services: Callable[[], "RunServices"]) -> None:
    @blueprint.route("runs", methods=["GET"])
    def runs(req: func.HttpRequest) -> func.HttpResponse:
        """`GET /api/runs?kind=&limit=`."""
        from functions.runs.queries import list_runs

        return answer(lambda: list_runs(query_of(req), services().runs))

    @blueprint.route("runs/{id}", methods=["GET"])
    def run(req: func.HttpRequest) -> func.HttpResponse:
        """`GET /api/runs/{id}`: 404 if there is none."""
        return answer(lambda: services().runs.get(req.route_params["id"]))
