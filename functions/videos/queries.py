"""What `GET` and `DELETE` of `/api/videos` answer."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import msgspec

from functions.parameters import brief, number_of
from models.contracts.videos import VideoJob, VideoState, VideoStatus, VideoUpload
from models.errors import BadInput, ConfigurationError, NotFound
from models.ports import BlobLinks, Clock
from models.videos import Videos
from models.videowork import VideoWork

log = logging.getLogger(__name__)

_MOST: Final = 1000
_DEFAULT: Final = 20
_LOOKED_AT: Final = 10_000


class VideoList(msgspec.Struct, frozen=True):
    """Body of `GET /api/videos`: the latest first."""

    videos: list[VideoStatus]


def list_videos(parameters: Mapping[str, str], videos: Videos, clock: Clock) -> VideoList:
    """Jobs by `state` and `limit`; `expected` are uploads without one. Raises BadInput for other values."""
    limit, state = number_of(parameters, "limit", default=_DEFAULT, most=_MOST), parameters.get("state")
    if state is not None and state not in set(VideoState):
        raise BadInput(f"state: expected {' or '.join(VideoState)}, got {brief(state)}")
    return VideoList(latest_videos(videos, clock, limit=limit, state=VideoState(state) if state else None))


def latest_videos(videos: Videos, clock: Clock, *, limit: int, state: VideoState | None = None) -> list[VideoStatus]:
    """At most `limit` jobs, those in `state` if one is given; of EXPECTED uploads without a job. The latest first."""
    if state == VideoState.EXPECTED:
        waiting = [upload for upload in videos.awaited() if not upload.cancelled]
        return [_expected(upload) for upload in waiting[:limit]]
    jobs = videos.latest(limit if state is None else _LOOKED_AT)
    if state is not None:
        jobs = [job for job in jobs if job.state == state][:limit]
    return [status_of(job, clock) for job in jobs]


def show_video(id: str, videos: Videos, links: BlobLinks, clock: Clock, *, valid: timedelta) -> VideoStatus:
    """The job with this id, or that of the upload with this id; without an address where none can be signed.

    Raises NotFound.
    """
    status = find_video(id, videos, clock)
    if not status.result:
        return status
    try:
        link = links.to_download(status.result, valid, file_name=status.result.rpartition("/")[2])
    except ConfigurationError as error:
        log.warning("%s", error)
        return status
    return msgspec.structs.replace(status, download_url=link.url, download_expires_at=link.expires_at)


def find_video(id: str, videos: Videos, clock: Clock) -> VideoStatus:
    """The job with this id, or that of the upload with this id, or the upload if it has none. Raises NotFound."""
    try:
        return status_of(videos.get(id), clock)
    except NotFound:
        upload = videos.upload(id)
    try:
        return status_of(videos.get(upload.job), clock)
    except NotFound:  # nothing came, or its job is being opened
        return _expected(upload)


def cancel_video(id: str, videos: Videos, work: VideoWork) -> VideoStatus:
    """The job, cancelled unless it had ended; an upload that nothing came to will start none. Raises NotFound.

    The second time nothing happens. Workers stop at their next batch of frames. With the id of an upload, no film
    that is put to its address later is made either.
    """
    try:
        found = videos.get(id)
    except NotFound:
        upload = videos.change_upload(id, lambda now: msgspec.structs.replace(now, cancelled=True))
        try:
            found = videos.get(upload.job)
        except NotFound:  # nothing came, or its job is being opened: whoever does looks here again
            return _expected(upload)
    return status_of(found if found.state.is_end else work.cancel(found.id), work.clock)


def status_of(job: VideoJob, clock: Clock) -> VideoStatus:
    """The job with rate and remaining time, as far as its frames tell."""
    fps = eta_s = None
    if job.started_at is not None and job.frames_done:
        until = job.ended_at if job.ended_at is not None else clock.now()
        fps = job.frames_done / max(0.001, until - job.started_at)
        if not job.state.is_end:
            eta_s = (job.frames - job.frames_done) / fps
    return VideoStatus(**msgspec.structs.asdict(job), fps=fps, eta_s=eta_s)


def _expected(upload: VideoUpload) -> VideoStatus:
    return VideoStatus(
        id=upload.id,
        state=VideoState.CANCELLED if upload.cancelled else VideoState.EXPECTED,
        name=upload.name,
        source=upload.blob,
        etag="",
        options=upload.options,
        caller=upload.caller,
        created_at=upload.created_at,
        asked_at=upload.created_at,
        moved_at=upload.created_at,
    )
