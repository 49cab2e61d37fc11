"""Everything that the triggers of films need, made once per process by the composition root."""

from dataclasses import dataclass
from datetime import timedelta

from functions.videos.intake import Intake
from functions.videos.sweep import VideoSweeper
from models.contracts.film import Limits
from models.ports import BlobLinks, Clock
from models.style.names import StyleNames
from models.videos import Videos
from models.videowork import VideoWork


@dataclass(frozen=True, slots=True)
class VideoServices:
    """Ports and the objects on them; all safe to share between threads."""

    clock: Clock
    videos: Videos
    styles: StyleNames
    limits: Limits
    work: VideoWork
    links: BlobLinks
    intake: Intake
    sweeper: VideoSweeper
    link_valid: timedelta
    uploads_per_hour: int
