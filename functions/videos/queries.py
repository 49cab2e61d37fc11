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
    if state == VideoState.EXPECTED:
        waiting = [upload for upload in videos.awaited() if not upload.cancelled]
        return VideoList([_expected(upload) for upload in waiting[:limit]])
    jobs = videos.latest(limit if state is None else _LOOKED_AT)
    if state is not None:
        jobs = [job for job in jobs if job.state == state][:limit]
    return VideoList([status_of(job, clock) for job in jobs])


def show_video(id: str, videos: Videos, links: BlobLinks, clock: Clock, *, valid: timedelta) -> VideoStatus:
    """The job with this id, or that of the upload with this id; without an address where none can be signed.

    Raises NotFound.
    """
    found = _find(id, videos)
    if isinstance(found, VideoUpload):
        return _expected(found)
    status = status_of(found, clock)
    if not found.result:
        return status
    try:
        link = links.to_download(found.result, valid, file_name=found.result.rpartition("/")[2])
    except ConfigurationError as error:
        log.warning("%s", error)
        return status
    return msgspec.structs.replace(status, download_url=link.url, download_expires_at=link.expires_at)


def cancel_video(id: str, videos: Videos, work: VideoWork) -> VideoStatus:
    """The job, cancelled unless it had ended; an upload that nothing came to will start none. Raises NotFound.

    The second time nothing happens. Workers stop at their next batch of frames.
    """
    found = _find(id, videos)
    if isinstance(found, VideoUpload):
        found = videos.change_upload(found.id, _cancelled)
        if not found.job:
            return _expected(found)
        found = videos.get(found.job)
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


def _find(id: str, videos: Videos) -> VideoJob | VideoUpload:
    try:
        return videos.get(id)
    except NotFound:
        upload = videos.upload(id)
    if not upload.job:
        return upload
    try:
        return videos.get(upload.job)
    except NotFound:  # it is being opened
        return msgspec.structs.replace(upload, job="")


def _cancelled(upload: VideoUpload) -> VideoUpload:
    return upload if upload.job else msgspec.structs.replace(upload, cancelled=True)


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
