"""The function app's composition root.

Importing it reads no settings and makes no clients: the host must find every function even where a setting is wrong,
and say so when one runs. Clients are made on first use, once per process.
"""

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import azure.functions as func

from functions.films import films
from functions.pipeline import pipeline
from functions.recommendations import recommendations
from functions.telemetry import telemetry

if TYPE_CHECKING:
    from functions.recommend.services import RecommendServices
    from functions.runs.services import RunServices
    from functions.services import Services
    from functions.videos.services import VideoServices

# App settings rather than `%NAME%` in the trigger: the host refuses a function whose `%NAME%` is not set.
_SWEEP_SCHEDULE: Final = os.environ.get("PENSTOCK_SWEEP_SCHEDULE", "*/10 * * * * *")
_LEARN_SCHEDULE: Final = os.environ.get("PENSTOCK_LEARN_SCHEDULE", "5/10 * * * * *")
_RUNS_SCHEDULE: Final = os.environ.get("PENSTOCK_RUNS_SCHEDULE", "7/10 * * * * *")
_VIDEO_SCHEDULE: Final = os.environ.get("PENSTOCK_VIDEO_SCHEDULE", "*/5 * * * * *")
_RETRAIN_SCHEDULE: Final = os.environ.get("PENSTOCK_RETRAIN_SCHEDULE", "0 0 3 * * *")


T = TypeVar("T")


class _Once(Generic[T]):
    """What `make` gives on first call, the same ever after; a failed attempt is made again."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: T | None = None

    def __call__(self) -> T:
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = self._make()
        return self._made


def build() -> "Services":
    """Services on the settings of this process. Raises ConfigurationError if they are wrong."""
    import logging

    from pydantic import ValidationError

    from functions.folding import Folder
    from functions.services import Services
    from functions.sweeping import Sweeper
    from infra.azure.blobs import AzureBlobs
    from infra.azure.eventhub import EventHubSender, connect
    from infra.azure.queues import AzureQueue
    from infra.clock import SystemClock
    from infra.settings import Settings
    from infra.wiring.state import open_state
    from models.errors import ConfigurationError
    from models.inference import LiveBank
    from models.names import SCORE_QUEUE, TRAIN_QUEUE
    from models.registry import Registry

    # The SDK logs every request at INFO, two lines each.
    logging.getLogger("azure.core").setLevel(logging.WARNING)
    try:
        settings = Settings()
    except ValidationError as error:
        raise ConfigurationError(f"settings: {error}") from error
    connection = settings.data_storage.get_secret_value()
    clock = SystemClock()
    blobs = AzureBlobs(connection)
    state = open_state(settings)
    folder = Folder(blobs, state, clock, threshold=settings.alert_threshold)
    return Services(
        blobs=blobs,
        state=state,
        train_queue=AzureQueue(connection, TRAIN_QUEUE),
        clock=clock,
        model=LiveBank(Registry(blobs, settings.model), clock, settings.model_refresh_s, spec=settings.spec),
        folder=folder,
        sweeper=Sweeper(blobs, state, AzureQueue(connection, SCORE_QUEUE), folder, clock),
        train_min_windows=settings.train_min_windows,
        ratings=EventHubSender(
            settings.ratings_hub,
            connect(
                settings.ratings_hub,
                connection=settings.amqp_connection.get_secret_value(),
                namespace=settings.amqp_namespace,
            ),
        ),
    )


def build_recommend() -> "RecommendServices":
    """What the recommendation routes need, on the clients of `services`. Raises ConfigurationError."""
    from infra.wiring.recommend import build_recommend

    return build_recommend(services())


def build_runs() -> "RunServices":
    """What the functions of runs need, on the clients of `services`. Raises ConfigurationError."""
    from infra.wiring.runs import build_runs

    return build_runs(services(), recommend_services)


def build_videos() -> "VideoServices":
    """What the functions of films need, on the clients of `services`. Raises ConfigurationError."""
    from infra.wiring.video_functions import build_videos

    return build_videos(services())


services: Final = _Once(build)
recommend_services: Final = _Once(build_recommend)
run_services: Final = _Once(build_runs)
video_services: Final = _Once(build_videos)

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
app.register_functions(telemetry(services, sweep_schedule=_SWEEP_SCHEDULE, learn_schedule=_LEARN_SCHEDULE))
app.register_functions(recommendations(recommend_services))
app.register_functions(pipeline(run_services, sweep_schedule=_RUNS_SCHEDULE, retrain_schedule=_RETRAIN_SCHEDULE))
app.register_functions(films(video_services, sweep_schedule=_VIDEO_SCHEDULE))
