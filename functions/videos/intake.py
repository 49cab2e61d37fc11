"""Films that were uploaded: each version of a blob becomes one job, of which a worker is told.

No byte of a film is read here: an event names it, and the worker's machine has the memory and libraries for it.
"""

import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec

from models.contracts.film import FilmOptions, Limits
from models.contracts.videos import BlobCreated, VideoState, VideoUpload
from models.errors import BadInput, NotFound
from models.names import VIDEO_UPLOADS
from models.ports import BlobInfo
from models.style.names import StyleNames
from models.videos import Videos, film_options, job_id, option_texts
from models.videowork import VideoWork

log = logging.getLogger(__name__)

_CONTAINERS: Final = "/containers/"
_BLOBS: Final = "/blobs/"
_CREATED: Final = "Microsoft.Storage.BlobCreated"


class Intake:
    """Opens jobs. Safe to share between threads."""

    def __init__(self, videos: Videos, work: VideoWork, styles: StyleNames, limits: Limits) -> None:
        self._videos = videos
        self._work = work
        self._styles = styles
        self._limits = limits

    def receive(self, body: bytes) -> None:
        """Start the job of the film that an event of Event Grid names, unless it was started before.

        Events come at least once, and the job's id depends on the blob's version and the options alone: the second
        time nothing happens. After a crash before sending, the sweep sends. A blob that is gone again is left alone.
        Raises BadInput for a message that is no such event.
        """
        for name in uploaded(body):
            info = self._work.blobs.head(name)
            if info is not None:
                self.start(info)
                return
        log.warning("the upload of which %r tells is gone", body[:300])

    def start(self, info: BlobInfo) -> bool:
        """Open the job of an uploaded blob and queue its plan; False if it has one, or is not to have one."""
        upload = self._videos.upload_of(info.name)
        given = _metadata(info) if upload is None else option_texts(upload.options)
        id = job_id(info, given)
        opened = False
        if not self._videos.is_known(id):
            if upload is not None and not self._belongs(upload, id, info):
                return False
            opened = self._open(id, info, given, upload)
        if upload is not None:
            self._settle(upload.id, id)
        return opened

    def _open(self, id: str, info: BlobInfo, given: Mapping[str, str], upload: VideoUpload | None) -> bool:
        """Record the job and queue its plan; False if another process was first."""
        name = upload.name if upload is not None else info.name.rstrip("/").rpartition("/")[2]
        try:
            _check_name(info.name)
            options = self._options(given)
            opened = self._videos.open(id, info, name=name, options=options, caller=upload.caller if upload else "")
        except BadInput as error:
            if self._videos.open(id, info, name=name, options=None, error=str(error)):
                log.warning("upload %r: video %s failed: %s", info.name, id, error)
                return True
            return False
        if opened:
            self._work.ask(id, "plan")
            log.info("upload %r: video %s", info.name, id)
        return opened

    def _options(self, given: Mapping[str, str]) -> FilmOptions:
        """The options, in a style that there is. Raises BadInput."""
        options = film_options(given, self._limits)
        self._styles.check(options.style, options.quality)
        return options

    def _belongs(self, upload: VideoUpload, id: str, info: BlobInfo) -> bool:
        """Whether the film that came by an address is to be made: the last that comes before one is done.

        Clients put a film again when the answer is lost. The upload names the job, and is changed by compare-and-set
        from what was read before the blob was looked at: so a version that was replaced never takes over again.
        """
        while upload.job != id:
            if upload.job and (upload.cancelled or not self._gives_way(upload.job, id, info)):
                return False
            upload = self._take(upload, id)
        if upload.cancelled:
            log.warning("a film came to the address of upload %s, which was cancelled: left alone", upload.id)
        return not upload.cancelled

    def _take(self, upload: VideoUpload, id: str) -> VideoUpload:
        """The upload with `id` as its job; as it is if it got another one since it was read."""
        return self._videos.change_upload(
            upload.id, lambda now: msgspec.structs.replace(now, job=id) if now.job == upload.job else now
        )

    def _gives_way(self, earlier: str, id: str, info: BlobInfo) -> bool:
        """Whether the job of an earlier version ends, or has, without a film and not because its owner wished so."""
        present = self._work.blobs.head(info.name)
        if present is None or present.etag != info.etag:
            return False
        try:
            state = self._work.fail(earlier, _replaced(id)).state
        except NotFound:  # it is being opened; whoever does ends it, by `_settle`
            return True
        if state != VideoState.FAILED:
            log.warning("another film came to the address of video %s, which is %s: left alone", earlier, state)
        return state == VideoState.FAILED

    def _settle(self, upload: str, id: str) -> None:
        """End a job that was opened though its upload was cancelled meanwhile, or another film came."""
        now = self._videos.upload(upload)
        if now.cancelled:
            self._work.cancel(id)
        elif now.job != id:
            self._work.fail(id, _replaced(now.job))


def _replaced(by: str) -> str:
    return f"the uploaded film was replaced by a newer upload to the same address, which is video {by}"


def uploaded(body: bytes) -> list[str]:
    """Blobs that an event may mean, the likeliest first; none for one that is not about an upload.

    The subject holds the name as it is; a sender that escaped it is understood too. Raises BadInput.
    """
    try:
        event = msgspec.json.decode(body, type=BlobCreated)
    except msgspec.DecodeError as error:
        raise BadInput(f"expected an event of Event Grid, got {body[:200]!r}: {error}") from error
    container, found, name = event.subject.partition(_CONTAINERS)[2].partition(_BLOBS)
    if not (container and found and name):
        raise BadInput(f"subject: expected '.../containers/<container>/blobs/<name>', got {event.subject[:200]!r}")
    if event.event_type != _CREATED or f"{container}/" != VIDEO_UPLOADS:
        return []
    return list(dict.fromkeys(f"{VIDEO_UPLOADS}{each}" for each in (name, unquote(name))))


def _metadata(info: BlobInfo) -> dict[str, str]:
    return {key.lower(): value for key, value in info.metadata.items()}


def _check_name(name: str) -> None:
    """Raises BadInput for a blob that no HTTP client can ask for: they fold such names into others."""
    if {".", ".."} & set(name.split("/")):
        raise BadInput("blob name: expected no segment '.' or '..', since clients turn it into another name")
