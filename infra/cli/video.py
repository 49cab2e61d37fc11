"""`penstock video`: films as jobs of the running Penstock: submit, status, list, cancel."""

import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from infra.cli import context, output
from infra.cli.video_out import save
from models.contracts.videos import VideoState, VideoStatus
from models.errors import BadInput, NotFound, PenstockError
from video.out import check_out

if TYPE_CHECKING:
    from infra.settings import Settings
    from models.videos import Videos

app = typer.Typer(help="Films in the style of a picture.", no_args_is_help=True)

_LOOK_EVERY_S: Final = 0.3
_BEGINS_WITHIN_S: Final = 60.0
_STEPS: Final = ("plan", "segment", "join")
_Video = Annotated[str, typer.Argument(help="A job, an upload that was asked for over HTTP, or `latest`.")]
_Wait = Annotated[bool, typer.Option("--wait", help="Return when the job has ended; exit code 1 unless it is done.")]
_Out = Annotated[Path | None, typer.Option(help="Write the film to this file, or into this folder; waits.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace the file to write if it is there.")]


class VideoFailed(PenstockError):
    """A job that was waited for is not done; the message says why."""


@app.callback()
def _group() -> None:
    """Films in the style of a picture."""


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    style: Annotated[str | None, typer.Option(help="Name of a style.", show_default="starry-night")] = None,
    quality: Annotated[str | None, typer.Option(help="`fast` or `fine`.", show_default="fine")] = None,
    scale: Annotated[
        float | None, typer.Option(help="The network works at this share of the size, from 0.25.", show_default="1")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="1: the styled picture; 0: the source.", show_default="1")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Of the result, as 640x360.", show_default="the source's")] = None,
    out: _Out = None,
    force: _Force = False,
    wait: _Wait = False,
    as_json: output.AsJson = False,
) -> None:
    """Upload a film; the workers make it anew in a style."""
    given = {"style": style, "quality": quality, "scale": scale, "strength": strength, "size": size}
    options = {name: str(value) for name, value in given.items() if value is not None}
    settings = context.load_settings()
    ending = _check_order(settings, file, options)
    if out is not None:
        check_out(out, force=force, source=file, ending=ending)
    id = upload(settings, file, options)
    _finish(settings, id, wait=wait, out=out, force=force, as_json=as_json)


@app.command()
def status(
    video: _Video = "latest",
    log: Annotated[bool, typer.Option("--log", help="Print the workers' logs of it as well.")] = False,
    out: _Out = None,
    force: _Force = False,
    wait: _Wait = False,
    as_json: output.AsJson = False,
) -> None:
    """Show how far a film has come."""
    settings = context.load_settings()
    id = _named(_videos(settings), video)
    if out is not None:
        check_out(out, force=force)
    _finish(settings, id, wait=wait, out=out, force=force, as_json=as_json, log=log)


@app.command("list")
def list_videos(
    state: Annotated[
        VideoState | None, typer.Option(help="Only those in this state; `expected`: uploads to which nothing came.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest.")] = 20,
    as_json: output.AsJson = False,
) -> None:
    """List films, latest first."""
    from functions.videos.queries import latest_videos
    from infra.clock import SystemClock

    found = latest_videos(_videos(context.load_settings()), SystemClock(), limit=limit, state=state)
    if as_json:
        output.print_json(found)
        return
    # Two lines each: so it fits 60 columns.
    rows = [
        (
            f"{each.id}\n{each.name}",
            f"{each.state}\n" + (f"{each.frames_done}/{each.frames}" if each.frames else ""),
            output.moment(each.created_at).replace(" ", "\n"),
        )
        for each in found
    ]
    table = output.table(("video, name", "state, frames", "since"), rows)
    # Both are there to be copied: never cut, however narrow the terminal; long names go on in the next line.
    table.columns[0].min_width = max((len(each.id) for each in found), default=0)
    table.columns[0].overflow = "fold"
    output.stdout.print(table)


@app.command()
def cancel(
    video: _Video,
    as_json: output.AsJson = False,
) -> None:
    """Stop a film; what was made of it is removed. One that has ended stays as it is; an upload will start none."""
    from functions.videos.queries import cancel_video
    from infra.azure.queues import AzureQueue
    from infra.clock import SystemClock
    from models.names import VIDEO_QUEUE
    from models.videowork import VideoWork

    settings = context.load_settings()
    videos = _videos(settings)
    queue = AzureQueue(settings.data_storage.get_secret_value(), VIDEO_QUEUE)
    work = VideoWork(context.open_blobs(settings), videos, queue, SystemClock())
    _show(cancel_video(_named(videos, video), videos, work), as_json)


def _check_order(settings: "Settings", file: Path, options: dict[str, str]) -> str:
    """Refuse what could not become a film before a byte of it is sent; its ending then, "" if not known here."""
    from infra.cli.video_source import check_source
    from models.style.names import StyleNames
    from models.videos import film_options

    limits = settings.film_limits
    wanted = film_options(options, limits)
    StyleNames(context.open_blobs(settings)).check(wanted.style, wanted.quality)
    return check_source(file, limits)


def upload(settings: "Settings", file: Path, options: dict[str, str]) -> str:
    """Put a film into storage and tell of it, as Event Grid would; its job, which the functions host opens."""
    import msgspec

    from infra.azure.queues import AzureQueue
    from models.contracts.videos import BlobCreated
    from models.errors import AlreadyExists
    from models.names import VIDEO_UPLOAD_QUEUE, video_upload_blob
    from models.videos import job_id, safe_name

    name = video_upload_blob(secrets.token_hex(10), safe_name(file.name))
    blobs = context.open_blobs(settings)
    with output.working(f"uploading {file.name}"):
        try:
            sent = blobs.upload(name, file, metadata=options)
        except AlreadyExists:
            # Nobody else has this name: the client's own first try came through, and its answer was lost.
            found = blobs.head(name)
            if found is None:
                raise
            sent = found
    container, _, path = name.partition("/")
    event = BlobCreated(subject=f"/blobServices/default/containers/{container}/blobs/{path}")
    AzureQueue(settings.data_storage.get_secret_value(), VIDEO_UPLOAD_QUEUE).send(msgspec.json.encode(event))
    return job_id(sent, options)


def follow(settings: "Settings", id: str, *, until_end: bool, shown: bool = True) -> VideoStatus:
    """The job once it is there, or once it has ended. Raises BadInput if nobody opens it."""
    videos = _videos(settings)
    deadline = time.monotonic() + _BEGINS_WITHIN_S
    with output.progress_bar(shown=shown and until_end) as bar:
        task = bar.add_task("waiting", total=None)
        while True:
            try:
                found = _status(id, videos)
            except NotFound as error:
                if time.monotonic() > deadline:
                    raise BadInput("the film is uploaded, but no job began: is the functions host up?") from error
            else:
                if found.state.is_end or not until_end:
                    return found
                bar.update(task, description=_words(found), total=found.frames or None, completed=found.frames_done)
            time.sleep(_LOOK_EVERY_S)


def _finish(
    settings: "Settings", id: str, *, wait: bool, out: Path | None, force: bool, as_json: bool, log: bool = False
) -> None:
    waited = wait or out is not None
    if waited:
        # Whoever does not wait to the end has to find it again.
        output.stderr.print(f"video {id}", soft_wrap=True)
    found = follow(settings, id, until_end=waited, shown=not as_json)
    written = None
    try:
        if out is not None and found.result:
            written = save(settings, found, out, force=force)
    finally:
        _show(found, as_json, written)
        if log and found.log:
            _print_logs(settings, found, as_json)
    if waited and found.state != VideoState.DONE:
        raise VideoFailed(f"video {found.id} {found.state}" + (f": {found.error}" if found.error else ""))


def _named(videos: "Videos", video: str) -> str:
    if video != "latest":
        _status(video, videos)
        return video
    found = next(iter(videos.latest(1)), None)
    if found is None:
        raise NotFound("there are no videos yet: penstock video submit FILE")
    return found.id


def _status(id: str, videos: "Videos") -> VideoStatus:
    """Of a job, or of an upload. Raises NotFound."""
    from functions.videos.queries import find_video
    from infra.clock import SystemClock

    return find_video(id, videos, SystemClock())


def _show(found: VideoStatus, as_json: bool, written: Path | None = None) -> None:
    if as_json:
        output.print_json(found)
        return
    output.stdout.print(f"video {found.id} ({found.name})", soft_wrap=True)
    options = found.options
    facts = [
        ("state", found.state),
        ("style", f"{options.style}, {options.quality}, {found.network}".rstrip(", ") if options else ""),
        ("frames", _frames(found) if found.frames else ""),
        ("speed", f"{found.fps:.1f} frames a second" if found.fps else ""),
        ("left", f"{found.eta_s:.0f} s" if found.eta_s else ""),
        *(("note", note) for note in found.notes),
        ("error" if found.state.is_end else "last failed try", found.error),
        ("result", found.result),
        ("written", written),
        ("logs", found.log),
    ]
    for name, value in facts:
        if value:
            output.stdout.print(f"  {name:<8}  {value}", soft_wrap=True)


def _print_logs(settings: "Settings", found: VideoStatus, as_json: bool) -> None:
    blobs = context.open_blobs(settings)
    console = output.stderr if as_json else output.stdout
    for info in sorted(blobs.list(found.log), key=lambda each: _place(each.name)):
        console.print(f"-- {info.name}", soft_wrap=True)
        console.print(blobs.get(info.name).data.decode(errors="replace"), end="", soft_wrap=True)


def _place(log: str) -> tuple[int, str]:
    """Where the log of a step comes: in the order of steps, since storage tells times to the second only."""
    name = log.rpartition("/")[2]
    return next((at for at, step in enumerate(_STEPS) if name.startswith(step)), len(_STEPS)), name


def _words(found: VideoStatus) -> str:
    rate = f", {found.fps:.1f} frames/s, {found.eta_s:.0f} s left" if found.fps and found.eta_s is not None else ""
    return f"{found.state}{rate}"


def _frames(found: VideoStatus) -> str:
    return f"{found.frames_done} of {found.frames}"


def _videos(settings: "Settings") -> "Videos":
    from infra.clock import SystemClock
    from infra.wiring.state import open_state
    from models.videos import Videos

    return Videos(open_state(settings), SystemClock())
