"""A whole film restyled on this machine, without any service."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import msgspec

from models.contracts.film import FilmOptions, FilmPlan, Limits
from models.errors import BadInput, PenstockError
from models.style.library import Style
from models.style.runtimes import Precision
from video.crew import Crew, Job, cores
from video.join import join_film
from video.out import check_out
from video.plan import plan_film
from video.preview import check_preview, write_preview

# Enough for the last processes to end at about the same time, and for a lost one to cost little.
_SEGMENTS_PER_WORKER: Final = 4
_LEAST_FRAMES: Final = 12


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a film is. `fps`: frames per second since the first one; `eta_s`: None while that is not known."""

    frames: int
    of: int
    fps: float
    eta_s: float | None


class Stylised(msgspec.Struct, frozen=True, kw_only=True):
    """A film that was made. `seconds`: of the whole command; `fps`: frames by that time."""

    out: str
    frames: int
    segments: int
    seconds: float
    fps: float
    workers: int
    runtime: str
    style: str
    style_version: str
    size_bytes: int
    notes: list[str]
    preview: str | None = None


def stylise_film(
    source: Path,
    out: Path,
    style: Style,
    options: FilmOptions,
    *,
    workers: int | None = None,
    threads: int = 1,
    limits: Limits | None = None,
    providers: Sequence[str] | None = None,
    precision: Precision = "best",
    preview: Path | None = None,
    force: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Stylised:
    """Write `source` in the style to `out`, a file or a folder; it appears whole or not at all.

    workers: processes; None: one per processor. threads: of each one's network. providers, precision: as of
    open_network. preview: a .png or .jpg file for one frame before and after. force: replace files that are there.
    Raises BadInput with a reason for people, TryLater if the disk is full. A preview that cannot be written is a note
    to the film, which is there. However it ends, no process and no partial file stays behind, unless this process is
    killed outright.
    """
    started = time.monotonic()
    workers = workers or max(1, cores() // threads)
    plan = msgspec.structs.replace(
        plan_for(source, options, limits or Limits(), workers=workers), style_version=style.version
    )
    target = out / f"{source.stem}-{options.style}{plan.ending}" if out.is_dir() else out
    check_out(target, force=force, source=source, ending=plan.ending)
    if preview is not None:
        check_preview(preview, force=force, source=source)
    meter = _Meter(plan.frames, progress)
    with tempfile.TemporaryDirectory(prefix=".penstock-", dir=target.parent) as folder:
        job = Job(source, plan, style, Path(folder), threads, providers, precision)
        with _naming(source), Crew(job, min(workers, len(plan.segments))) as crew:
            crew.make(range(len(plan.segments)), meter.moved)
        joined = join_film(source, plan, [Path(folder) / str(i) for i in range(len(plan.segments))], target)
    seconds = time.monotonic() - started
    lost = _preview_lost(source, target, plan, preview) if preview else None
    return Stylised(
        out=str(target),
        frames=joined.frames,
        segments=len(plan.segments),
        seconds=round(seconds, 2),
        fps=round(joined.frames / seconds, 2),
        workers=min(workers, len(plan.segments)),
        runtime=crew.runtime,
        style=f"{options.style}, {options.quality}",
        style_version=style.version,
        size_bytes=joined.size_bytes,
        notes=[*plan.notes, lost] if lost else plan.notes,
        preview=str(preview) if preview and not lost else None,
    )


def plan_for(source: Path, options: FilmOptions, limits: Limits, *, workers: int) -> FilmPlan:
    """The plan of a film for so many processes: short films are cut finer, so that all have work to the end.

    Raises BadInput, naming the film, if it is none or beyond `limits`.
    """
    with _naming(source):
        plan = plan_film(source, options, limits)
        wanted = workers * _SEGMENTS_PER_WORKER
        if workers == 1 or len(plan.segments) >= wanted:
            return plan
        frames = max(_LEAST_FRAMES, math.ceil(plan.frames / wanted))
        return plan_film(source, options, limits, segment_frames=frames)


class _Meter:
    """Frames done, as a rate; time that runtimes need to start is not counted."""

    def __init__(self, of: int, told: Callable[[Progress], None]) -> None:
        self._of = of
        self._told = told
        self._first: tuple[float, int] | None = None

    def moved(self, frames: int) -> None:
        now = time.monotonic()
        if self._first is None and frames:
            self._first = now, frames
        since, before = self._first or (now, frames)
        fps = (frames - before) / (now - since) if now > since and frames > before else 0.0
        self._told(Progress(frames, self._of, fps, (self._of - frames) / fps if fps else None))


@contextmanager
def _naming(film: Path) -> Iterator[None]:
    """Put the film's name before what is wrong with it."""
    try:
        yield
    except BadInput as error:
        raise type(error)(f"{film.name}: {error}") from error


def _preview_lost(source: Path, film: Path, plan: FilmPlan, out: Path) -> str | None:
    """Write the preview; a note if that failed. The film is made, and stays."""
    try:
        write_preview(source, film, plan, out)
    except (PenstockError, OSError, av.FFmpegError) as error:
        return f"no preview: {out}: {getattr(error, 'strerror', None) or error}"
    return None
