"""Triggers of the telemetry path: decode, call a handler, encode.

Handlers, and all they need, are imported when a trigger first fires: a broken dependency fails that invocation with
its own message, while indexing always finds every function.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

from functions.answers import answer, query_of
from functions.triggers import STORAGE, put_off, taking
from models.names import SCORE_QUEUE

if TYPE_CHECKING:
    from functions.services import Services

log = logging.getLogger(__name__)


def telemetry(services: Callable[[], "Services"], *, sweep_schedule: str, learn_schedule: str) -> func.Blueprint:
    """The blueprint; schedules are NCRONTAB with seconds. `services` is called in every invocation, so it caches."""
    blueprint = func.Blueprint()
    _add_scoring(blueprint, services)
    _add_timers(blueprint, services, sweep_schedule, learn_schedule)
    _add_http(blueprint, services)
    return blueprint


def _add_scoring(blueprint: func.Blueprint, services: Callable[[], "Services"]) -> None:
    @blueprint.queue_trigger(arg_name="msg", queue_name=SCORE_QUEUE, connection=STORAGE)
    def score_batch(msg: func.QueueMessage) -> None:
        """At least once per batch, in any order; see `handle_batch` for why that is harmless."""
        from functions.scoring import handle_batch

        here = services()
        with taking(msg):
            handle_batch(msg.get_body(), here.blobs, here.model, here.folder)


def _add_timers(
    blueprint: func.Blueprint, services: Callable[[], "Services"], sweep_schedule: str, learn_schedule: str
) -> None:
    # Microsoft warns of run_on_startup because it also runs at every scale-out: here that is the purpose, since a
    # process that starts may succeed one that died with messages in its hands, and the sweep may be repeated.
    @blueprint.timer_trigger(arg_name="timer", schedule=sweep_schedule, run_on_startup=True, use_monitor=False)
    def sweep_telemetry(timer: func.TimerRequest) -> None:
        """On schedule on one instance, and at every start."""
        with put_off("sweep"):
            swept = services().sweeper.sweep()
            if swept.requeued or swept.folded or swept.failed:
                log.info("%s", swept)

    @blueprint.timer_trigger(arg_name="timer", schedule=learn_schedule, use_monitor=False)
    def request_models(timer: func.TimerRequest) -> None:
        """On schedule; it asks the trainer once for what many calls find."""
        from functions.learning import request_training

        here = services()
        with put_off("asking for models"):
            request_training(here.state, here.train_queue, here.clock, min_windows=here.train_min_windows)


def _add_http(blueprint: func.Blueprint, services: Callable[[], "Services"]) -> None:
    @blueprint.route("alerts", methods=["GET"])
    def alerts(req: func.HttpRequest) -> func.HttpResponse:
        """`GET /api/alerts?device=&sensor=&status=&limit=`."""
        from functions.queries import list_alerts

        return answer(lambda: list_alerts(query_of(req), services().state))

    @blueprint.route("devices", methods=["GET"])
    def devices(req: func.HttpRequest) -> func.HttpResponse:
        """`GET /api/devices?device=&limit=`."""
        from functions.queries import list_devices

        return answer(lambda: list_devices(query_of(req), services().state))

    @blueprint.route("health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
    def health(req: func.HttpRequest) -> func.HttpResponse:
        """`GET /api/health`: 200 if storage, state store and model registry answer, else 503 with what failed."""
        from functions.queries import check_health

        def check() -> object:
            here = services()
            return check_health(
                {
                    "storage": lambda: here.blobs.head("checkpoints/health"),
                    "state": lambda: here.state.get("telemetry", "health", "health"),
                },
                lambda: bank.version if (bank := here.model.current()) else None,
            )

        return answer(check)
