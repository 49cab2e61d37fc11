"""The part of the function app's composition root for films: loaded when one of its functions is first called."""

from datetime import timedelta

from functions.services import Services
from functions.videos.intake import Intake
from functions.videos.services import VideoServices
from functions.videos.sweep import VideoSweeper
from infra.azure.links import AzureLinks
from infra.azure.queues import AzureQueue
from infra.settings import Settings
from models.names import VIDEO_QUEUE
from models.style.names import StyleNames
from models.videos import Videos
from models.videowork import VideoWork


def build_videos(base: Services) -> VideoServices:
    """Services on the clients of `base` and the settings of this process. Raises ConfigurationError."""
    settings = Settings()
    connection = settings.data_storage.get_secret_value()
    videos = Videos(base.state, base.clock)
    work = VideoWork(base.blobs, videos, AzureQueue(connection, VIDEO_QUEUE), base.clock)
    styles = StyleNames(base.blobs)
    intake = Intake(videos, work, styles, settings.film_limits)
    return VideoServices(
        clock=base.clock,
        videos=videos,
        styles=styles,
        limits=settings.film_limits,
        work=work,
        links=AzureLinks(connection, base.clock),
        intake=intake,
        sweeper=VideoSweeper(work, intake, max_age=timedelta(seconds=settings.video_max_age_s)),
        link_valid=timedelta(seconds=settings.video_link_s),
        uploads_per_hour=settings.video_uploads_per_hour,
    )
