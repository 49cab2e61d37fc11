"""`penstock video stylise|styles|register`: films on this machine without services, and the styles for them."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli import context, output, video_options
from models.errors import BadInput
from models.style.runtimes import Precision, providers_of

if TYPE_CHECKING:
    from models.contracts.film import FilmOptions
    from video.film import Progress as Moved
    from video.film import Stylised

_MANIFEST_BYTES: Final = 1 << 20


def stylise(
    source: video_options.Film,
    out: Annotated[Path, typer.Argument(help="File to write, or a folder.")],
    style: Annotated[str, typer.Option(help="Name of a style (penstock video styles).")],
    quality: video_options.Quality = "fine",
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes.", show_default="one per core")
    ] = None,
    size: video_options.Size = None,
    scale: video_options.Scale = 1.0,
    strength: video_options.Strength = 1.0,
    threads: Annotated[int, typer.Option(min=1, help="Of each process's network.")] = 1,
    providers: Annotated[
        str,
        typer.Option(help="Runtimes that may be used: of tensorrt,cuda,openvino,cpu.", show_default="the best"),
    ] = "",
    precision: Annotated[
        Precision,
        typer.Option(help="`fp32`: one picture on all machines, within a level; `best` may round, and is faster."),
    ] = "best",
    preview: Annotated[
        Path | None,
        typer.Option(help="A .png or .jpg file for a frame before and after.", show_default="beside OUT"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT and the preview if they are there.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Write a film in a style, on this machine alone."""
    from video.film import stylise_film

    limits = video_options.limits()
    options = video_options.options(style, limits, quality=quality, scale=scale, strength=strength, size=size)
    found = video_options.find_style(options)
    with _ended_by_sigterm(), _bar(as_json) as told:
        made = stylise_film(
            source,
            out,
            found,
            options,
            workers=workers,
            threads=threads,
            limits=limits,
            providers=providers_of(providers),
            precision=precision,
            preview=preview or _beside(out, source, options),
            force=force,
            progress=told,
        )
    if as_json:
        output.print_json(made)
    else:
        _show(made)


def styles(as_json: output.AsJson = False) -> None:
    """List the styles that ship with Penstock and those that are registered."""
    found = video_options.library().styles()
    if not context.has_storage():
        output.stderr.print(f"only those that ship: {video_options.SHIPPED_ALONE}", soft_wrap=True)
    rows = [(m.style, m.quality, each.version, m.title, m.licence) for each in found for m in [each.manifest]]
    if as_json:
        keys = ("style", "quality", "version", "title", "licence")
        output.print_json({"styles": [dict(zip(keys, row, strict=True)) for row in rows]})
        return
    output.stdout.print(output.table(("style", "quality", "version", "title", "licence"), rows))


def register(
    network: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An ONNX file.")],
    manifest: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="JSON that says what its tensors mean.")
    ],
    promote: Annotated[bool, typer.Option("--promote", help="Films get it from now on.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Check a network, try it on a small picture, and put it in the registry of styles."""
    from infra.clock import SystemClock
    from models.registry import Registry
    from models.style.core import MOST_BYTES
    from models.style.library import publish_style
    from models.style.manifest import read_manifest
    from training.stamp import creator, stamped
    from video.register import try_apart

    described = read_manifest(_read(manifest, _MANIFEST_BYTES), name=manifest.name)
    graph = _read(network, MOST_BYTES)
    blobs = context.open_blobs(context.load_settings())
    with output.working("trying the network on a small picture"):
        try_apart(graph, described)
    card = manifest.with_name(described.card) if described.card else None
    stamp = stamped(SystemClock(), graph)
    published = publish_style(
        blobs,
        described,
        graph,
        version=stamp.version,
        created_at=stamp.created_at,
        creator=creator("register"),
        card=_read(card, _MANIFEST_BYTES) if card and card.is_file() else None,
    )
    if promote:
        Registry(blobs, published.model).promote(published.version)
    if as_json:
        output.print_json({"model": published.model, "version": published.version, "live": promote})
        return
    live = (
        "live" if promote else f"not live yet: penstock models promote {published.version} --model {published.model}"
    )
    output.stdout.print(f"{published.model} {published.version}, {live}", soft_wrap=True)


def _beside(out: Path, source: Path, options: "FilmOptions") -> Path:
    if out.is_dir():
        return out / f"{source.stem}-{options.style}.preview.jpg"
    return out.with_name(f"{out.stem}.preview.jpg")


def _read(path: Path, most: int) -> bytes:
    if path.stat().st_size > most:
        raise BadInput(f"{path.name}: expected at most {most >> 20} MiB, it has {path.stat().st_size >> 20}")
    return path.read_bytes()


@contextmanager
def _bar(hidden: bool) -> "Iterator[Any]":
    """A progress bar with frames per second and the time that is left; gives what to call with each Progress."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        console=output.stderr,
        disable=hidden or not output.stderr.is_terminal,
    )
    with shown as progress:
        task = progress.add_task("starting", total=None, rate="")

        def told(now: "Moved") -> None:
            left = "" if now.eta_s is None else f"{now.fps:.1f} frames/s, {_clock(now.eta_s)} left"
            progress.update(task, description="frames", completed=now.frames, total=now.of, rate=left)

        yield told


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does: with its processes and partial files."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(made: "Stylised") -> None:
    output.stdout.print(
        f"{made.out}: {made.frames} frames in {made.seconds:.1f} s, {made.fps:.1f} frames/s, {made.workers} "
        f"process{'es' if made.workers > 1 else ''}, {made.runtime}",
        soft_wrap=True,
    )
    if made.preview:
        output.stdout.print(f"before and after: {made.preview}", soft_wrap=True)
    for note in made.notes:
        output.stdout.print(f"note: {note}", soft_wrap=True)
