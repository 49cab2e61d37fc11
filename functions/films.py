"""Triggers of the video workload: uploaded films, the sweep, and `/api/videos`.

Event Grid tells of uploads through a queue, not by a blob trigger: the input of a blob trigger is the whole blob,
which the host would carry into this process, and films are large. Handlers, and all they need, are imported when a
trigger first fires, as in `functions.telemetry`.
"""

import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

from functions.answers import answer
from functions.triggers import STORAGE, put_off, taking
from models.names import VIDEO_UPLOAD_QUEUE

if TYPE_CHECKING:
    from functions.videos.services import VideoServices

log = logging.getLogger(__name__)


def films(services: Callable[[], "VideoServices"], *, sweep_schedule: str) -> func.Blueprint:
    """The blueprint; the schedule is NCRONTAB with seconds. `services` is called in every invocation: it caches."""
    blueprint = func.Blueprint()
    _add_uploads(blueprint, services, sweep_schedule)
    _add_requests(blueprint, services)
    _add_queries(blueprint, services)
    return blueprint


def _add_uploads(blueprint: func.Blueprint, services: Callable[[], "VideoServices"], sweep_schedule: str) -> None:
    @blueprint.queue_trigger(arg_name="msg", queue_name=VIDEO_UPLOAD_QUEUE, connection=STORAGE)
    def receive_film(msg: func.QueueMessage) -> None:
        """At least once per upload; the job's id depends on the blob's version and the options alone."""
        with taking(msg):
            services().intake.receive(msg.get_body())

    # At every start too, as the sweep of the telemetry path, and for the same reason.
    @blueprint.timer_trigger(arg_name="timer", schedule=sweep_schedule, run_on_startup=True, use_monitor=False)
    def sweep_videos(timer: func.TimerRequest) -> None:
        """On schedule on one instance, and at every start."""
        with put_off("sweep of videos"):
            swept = services().sweeper.sweep()
            if swept.started or swept.asked or swept.expired or swept.failed:
                log.info("%s", swept)


def _add_requests(blueprint: func.Blueprint, services: Callable[[], "VideoServices"]) -> None:
    @blueprint.route("videos", methods=["POST"])
    def create_video(req: func.HttpRequest) -> func.HttpResponse:
        """`POST /api/videos`: an address to put a film to; 429 beyond the caller's quota."""
        from functions.videos.uploads import caller_of, expect_upload

        def expect() -> object:
            here = services()
            return expect_upload(
                req.get_body(), caller_of(req.headers, req.params),
                videos=here.videos, styles=here.styles, limits=here.limits, links=here.links, clock=here.clock,
                new_id=lambda: secrets.token_hex(10), valid=here.link_valid, per_hour=here.uploads_per_hour,
            )  # fmt: skip

        return answer(expect, status=201)

    @blueprint.route("videos/{id}", methods=["DELETE"])
    def cancel_video(req: func.HttpRequest) -> func.HttpResponse:
        """`DELETE /api/videos/{id}`: the job as it is then; 404 if there is none."""
        from functions.videos.queries import cancel_video

        return answer(lambda: cancel_video(req.route_params["id"], services().videos, services().work))


def _add_queries(blueprint: func.Blueprint, services: Callable[[], "VideoServices"]) -> None:
    @blueprint.route("videos", methods=["GET"])
    def videos(req: func.HttpRequest) -> func.HttpResponse:
        """`GET /api/videos?state=&limit=`."""
        from functions.videos.queries import list_videos

        return answer(lambda: list_videos(req.params, services().videos, services().clock))

    @blueprint.route("videos/{id}", methods=["GET"])
    def video(req: func.HttpRequest) -> func.HttpResponse:
        """`GET /api/videos/{id}`: 404 if there is none."""
        from functions.videos.queries import show_video

        def show() -> object:
            here = services()
            return show_video(req.route_params["id"], here.videos, here.links, here.clock, valid=here.link_valid)

        return answer(show)
