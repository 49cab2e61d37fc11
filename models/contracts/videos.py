"""Jobs of films: records, messages, and the HTTP bodies of `/api/videos`."""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from models.contracts.film import FilmOptions


class VideoState(StrEnum):
    """How far a film has come. The last three are ends."""

    EXPECTED = "expected"
    """An upload address was given out and nothing has come yet; there is no job so far."""
    RECEIVED = "received"
    STYLISING = "stylising"
    """It is planned; its segments are in work."""
    JOINING = "joining"
    """All segments are there."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether nothing comes after it."""
        return self in (VideoState.DONE, VideoState.FAILED, VideoState.CANCELLED)


class VideoJob(msgspec.Struct, frozen=True, kw_only=True):
    """One film in one style. Times are in epoch seconds."""

    version: int = 1
    id: str
    """The same for the same blob, version of it and options."""
    state: VideoState = VideoState.RECEIVED
    name: str
    """What its owner calls the film."""
    source: str
    """The uploaded blob."""
    etag: str
    options: FilmOptions | None = None
    """None where what was given could not be read; then the job has failed."""
    caller: str = ""
    """Who asked over HTTP, as a digest; empty for a film that was put into storage directly."""
    network: str = ""
    """Version of the style's network; the plan fixes it."""
    segments: int = 0
    segments_done: int = 0
    frames: int = 0
    """In the source, once it is planned."""
    frames_done: int = 0
    """Stylised, those of segments in work included; it never goes back."""
    in_work: dict[int, int] | msgspec.UnsetType = msgspec.UNSET
    """Frames that were made of segments that are not there yet, by segment. Left out if there are none."""
    notes: list[str] = []
    """What the plan has to say: what is converted, what cannot be kept."""
    error: str = ""
    result: str = ""
    """The blob with the stylised film."""
    log: str = ""
    """Prefix of the blobs with the logs of its steps."""
    created_at: float
    asked_at: float
    """When a message was last sent for it."""
    moved_at: float
    """When it last came further."""
    started_at: float | None = None
    """When it was planned."""
    ended_at: float | None = None


class VideoMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A step of job `job`, whose record says the rest. Sent at least once; what is there is not made again."""

    version: int = 1
    kind: Literal["plan", "segment", "join"]
    job: str
    segment: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Which one, of a segment's step."""


class BlobCreated(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event of Event Grid, of which only these fields are read: a blob was written."""

    subject: str
    """`/blobServices/default/containers/<container>/blobs/<name>`."""
    event_type: str = "Microsoft.Storage.BlobCreated"


class VideoRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/videos`. What is left out is as FilmOptions has it.

    Other fields are refused: a misspelt option would make another film than the one that was meant.
    """

    name: str = "film"
    style: str | None = None
    quality: str | None = None
    scale: float | None = None
    strength: float | None = None
    size: str | None = None


class VideoUpload(msgspec.Struct, frozen=True, kw_only=True):
    """An upload that was asked for: a record, without the address."""

    version: int = 1
    id: str
    blob: str
    name: str
    options: FilmOptions
    caller: str
    created_at: float
    expires_at: float
    job: str = ""
    """The job of the film that came last before one was done."""
    cancelled: bool = False


class VideoAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of `POST /api/videos`: `PUT` the film to `upload_url` with `headers`, before `expires_at`."""

    id: str
    """Ask `GET /api/videos/{id}` with it; the job that begins with the upload answers to it too."""
    blob: str
    upload_url: str
    """Whoever holds it can write this one blob."""
    method: str = "PUT"
    headers: dict[str, str]
    expires_at: float
    options: FilmOptions


class VideoStatus(VideoJob, frozen=True, kw_only=True):
    """Answer of `GET /api/videos/{id}`: the job, and what is computed for the answer."""

    fps: float | None = None
    """Frames stylised per second since it was planned."""
    eta_s: float | None = None
    """Seconds until all frames are stylised, at that rate."""
    download_url: str = ""
    """Of a finished film: whoever holds it can read that one blob."""
    download_expires_at: float | None = None
