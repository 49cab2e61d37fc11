"""Jobs of films in the state store, container `videos`, by compare-and-set; uploads and quotas beside them."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from models.contracts.film import FilmOptions, Limits
from models.contracts.videos import VideoJob, VideoState, VideoUpload
from models.errors import BadInput, NotFound, Superseded, TooMany
from models.filmlimits import check_size, size_of
from models.names import VIDEO_UPLOADS, escaped, video_log_prefix
from models.ports import BlobInfo, Clock, Put, StateStore
from models.records import Records, stamped_id

CONTAINER: Final = "videos"
DEFAULT_STYLE: Final = "starry-night"

_UPLOADS: Final = "uploads"
_CALLERS: Final = "callers"
_ID_DIGITS: Final = 16
_HOUR_S: Final = 3600.0
_LONGEST_NAME: Final = 80
_OPTION_NAMES: Final = msgspec.structs.fields(FilmOptions)
_NUMBERS: Final = ("scale", "strength")
_LIMITS: Final = Limits()
_STYLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def film_options(given: Mapping[str, str], limits: Limits = _LIMITS) -> FilmOptions:
    """Options from texts, as blob metadata has them; other names are ignored.

    Raises BadInput that says what was expected and what came. Whether there is such a style is for
    `models.style.names`.
    """
    found: dict[str, object] = {"style": DEFAULT_STYLE}
    for field in _OPTION_NAMES:
        text = given.get(field.name, "").strip()
        if text:
            found[field.name] = _number(field.name, text) if field.name in _NUMBERS else text
    if not _STYLE.fullmatch(str(found["style"])):
        raise BadInput(f"style: expected a name like {DEFAULT_STYLE!r}, got {str(found['style'])[:80]!r}")
    try:
        options = msgspec.convert(found, FilmOptions)
    except msgspec.ValidationError as error:
        raise BadInput(_wrong_option(found, str(error))) from error
    if options.size:
        width, height = size_of(options.size)
        check_size(width, height, limits, what="size")
    return options


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"{name}: expected a number, got {text[:80]!r}") from None


def _wrong_option(found: Mapping[str, object], said: str) -> str:
    """In terms of the options, whatever the decoder calls its patterns."""
    name = said.rpartition("$.")[2].rstrip("`")
    expected = {
        "quality": "'fast' or 'fine'",
        "scale": "a number from 0.25 to 1",
        "strength": "a number from 0 to 1",
        "size": "'WIDTHxHEIGHT', like '640x360'",
    }
    return f"{name}: expected {expected.get(name, said)}, got {str(found.get(name))[:80]!r}"


def option_texts(options: FilmOptions) -> dict[str, str]:
    """The options as `film_options` takes them."""
    return {name: str(value) for name, value in msgspec.structs.asdict(options).items() if value is not None}


def safe_name(name: str) -> str:
    """`name` as one path segment of a blob that every client can ask for: letters, digits and `_-.` of its end."""
    # Composed, since some systems write a letter and its accent apart; clients drop dots at the end.
    composed = unicodedata.normalize("NFC", name)
    return re.sub(r"[^\w.-]", "_", composed)[-_LONGEST_NAME:].strip(".") or "film"


def safe_stem(name: str) -> str:
    """As `safe_name`, without the last ending."""
    stem, _, _ = name.rpartition(".")
    return safe_name(stem or name)


def job_id(info: BlobInfo, options: Mapping[str, str]) -> str:
    """The job of this version of a blob with these options, which are texts as in its metadata."""
    names = [field.name for field in _OPTION_NAMES]
    told = [f"{name}={options[name]}" for name in names if options.get(name)]
    return stamped_id(info.modified, info.name, info.etag, *told, digits=_ID_DIGITS)


class Videos:
    """Opens, reads and changes jobs, uploads and quotas. Holds no state of its own: safe to share between threads."""

    def __init__(self, state: StateStore, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._jobs = Records(
            state,
            CONTAINER,
            VideoJob,
            ended=lambda job: job.state.is_end,
            what="video",
            hint="penstock video list",
            marked=True,
        )
        self._uploads = Records(
            state,
            CONTAINER,
            VideoUpload,
            ended=lambda upload: bool(upload.job),
            what="video",
            hint="penstock video list",
            marked=True,
            partition=_UPLOADS,
        )

    def open(
        self, id: str, info: BlobInfo, *, name: str, options: FilmOptions | None, caller: str = "", error: str = ""
    ) -> bool:
        """Record a job for an uploaded blob, a failed one if there is an `error`; False if it is known already."""
        now = self._clock.now()
        job = VideoJob(
            id=id, name=name, source=info.name, etag=info.etag, options=options, caller=caller,
            log=video_log_prefix(id), created_at=now, asked_at=now, moved_at=now,
        )  # fmt: skip
        if error:
            job = msgspec.structs.replace(job, state=VideoState.FAILED, error=error, ended_at=now)
        return self._jobs.create(id, job)

    def is_known(self, id: str) -> bool:
        """Whether there is such a job."""
        return self._jobs.exists(id)

    def get(self, id: str) -> VideoJob:
        """The job. Raises NotFound, Damaged."""
        return self._jobs.get(id)

    def latest(self, limit: int | None = None) -> list[VideoJob]:
        """Jobs, the latest first."""
        return self._jobs.latest(limit)

    def unfinished(self) -> list[str]:
        """Ids of the jobs that have not ended, the oldest first."""
        return self._jobs.unfinished()

    def change(self, id: str, change: Callable[[VideoJob], VideoJob]) -> VideoJob:
        """The job after `change`, which may be called again. One that has ended stays as it is. Raises NotFound."""
        return self._jobs.change(id, change)

    def set(self, id: str, **facts: Any) -> VideoJob:
        """The job with the fields `facts` set, unless it has ended."""
        return self.change(id, lambda job: msgspec.structs.replace(job, **facts))

    def moved(self, id: str, **facts: Any) -> VideoJob:
        """As `set`, of a job that came further; ends get their time."""
        now = self._clock.now()
        if facts.get("state", VideoState.RECEIVED).is_end:
            facts["ended_at"] = now
        return self.set(id, moved_at=now, **facts)

    # Uploads that were asked for over HTTP.

    def expect(self, upload: VideoUpload) -> None:
        """Remember an upload that was asked for."""
        self._uploads.create(upload.id, upload)

    def upload(self, id: str) -> VideoUpload:
        """The upload with this id. Raises NotFound, Damaged."""
        return self._uploads.get(id)

    def upload_of(self, blob: str) -> VideoUpload | None:
        """The upload by which `blob` came; None for one that was put into storage directly."""
        id, slash, _ = blob.removeprefix(VIDEO_UPLOADS).partition("/")
        try:
            found = self.upload(id) if slash else None
        except NotFound:
            return None
        return found if found is not None and found.blob == blob else None

    def change_upload(self, id: str, change: Callable[[VideoUpload], VideoUpload]) -> VideoUpload:
        """The upload after `change`, which may be called again. Raises NotFound, Damaged."""
        return self._uploads.change(id, change, even_ended=True)

    def awaited(self) -> list[VideoUpload]:
        """Uploads to which nothing has come, cancelled ones too, the latest first."""
        return sorted(self._uploads.read_unfinished(), key=lambda upload: upload.created_at, reverse=True)

    def forget_uploads(self, before: float, has_come: Callable[[VideoUpload], bool]) -> None:
        """Forget uploads whose time ended before `before`, epoch seconds, but for those to which a film `has_come`.

        A film whose upload is forgotten would be taken for one that was put into storage directly.
        """
        for upload in self.awaited():
            if upload.expires_at < before and not has_come(upload):
                self._uploads.remove(upload.id)

    def count_upload(self, caller: str, per_hour: int) -> None:
        """Count an upload of `caller`. Raises TooMany where `per_hour` were counted within the last hour."""
        while True:
            now = self._clock.now()
            document = self._state.get(CONTAINER, _CALLERS, escaped(caller))
            counted = [] if document is None else msgspec.json.decode(document.body, type=list[float])
            counted = [at for at in counted if at > now - _HOUR_S]
            if len(counted) >= per_hour:
                wait_s = max(1.0, counted[-per_hour] + _HOUR_S - now)
                raise TooMany(f"expected at most {per_hour} uploads an hour, this is one more", retry_after_s=wait_s)
            put = Put(
                escaped(caller),
                msgspec.json.encode([*counted, now]),
                etag="" if document is None else document.etag,
            )
            try:
                self._state.transact(CONTAINER, _CALLERS, [put])
            except Superseded:
                continue
            return
