"""`penstock video stylise|plan|styles|register`: films on this machine without services, and the styles for them."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli import context, output
from infra.local.home import Home
from models.errors import BadInput
from models.style.runtimes import Precision, providers_of

if TYPE_CHECKING:
    from models.contracts.film import FilmOptions, FilmPlan
    from models.style.library import Style, StyleLibrary
    from video.film import Progress as Moved
    from video.film import Stylised

_Film = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The film.")]
_Style = Annotated[str, typer.Option(help="Name of a style (penstock video styles).")]
_Quality = Annotated[str, typer.Option(help="`fast` or `fine`.")]
_Scale = Annotated[
    float, typer.Option(help="The network works at this share of the size, from 0.25: bolder, faster.")
]
_Strength = Annotated[float, typer.Option(help="1: the styled picture; 0: the source.")]
_Size = Annotated[str | None, typer.Option(help="Of the result, as 640x360; else that of the source.")]
_MANIFEST_BYTES: Final = 1 << 20


def stylise(
    source: _Film,
    out: Annotated[Path, typer.Argument(help="File to write, or a folder.")],
    style: _Style,
    quality: _Quality = "fine",
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes. [default: one per core]")] = None,
    size: _Size = None,
    scale: _Scale = 1.0,
    strength: _Strength = 1.0,
    threads: Annotated[int, typer.Option(min=1, help="Of each process's network.")] = 1,
    providers: Annotated[
        str, typer.Option(help="Runtimes that may be used: of tensorrt,cuda,openvino,cpu. [default: the best]")
    ] = "",
    precision: Annotated[
        Precision,
        typer.Option(help="`fp32`: one picture on all machines, within a level; `best` may round, and is faster."),
    ] = "best",
    preview: Annotated[
        Path | None, typer.Option(help="A .png or .jpg file for a frame before and after. [default: beside OUT]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT and the preview if they are there.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Write a film in a style, on this machine alone."""
    from video.film import stylise_film

    options = _options(style, quality=quality, scale=scale, strength=strength, size=size)
    found = _library().find(options.style, options.quality)
    with _ended_by_sigterm(), _bar(as_json) as told:
        made = stylise_film(
            source,
            out,
            found,
            options,
            workers=workers,
            threads=threads,
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


def plan(
    source: _Film,
    style: Annotated[str | None, typer.Option(help="Measure this style for a few seconds.")] = None,
    quality: _Quality = "fine",
    size: _Size = None,
    scale: _Scale = 1.0,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Frames/s of one worker, instead of measuring.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many work at once. [default: one per core]")] = None,
    price_per_hour: Annotated[float | None, typer.Option(min=0, help="Of one worker, in any currency.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Say into what a film is divided, how long it will take, and what that costs."""
    from models.contracts.film import Limits
    from video.crew import cores
    from video.plan import plan_film

    options = _options(style or "none", quality=quality, scale=scale, strength=1.0, size=size)
    planned = plan_film(source, options, Limits())
    if rate is None and style is not None:
        rate = _measured(source, _library().find(options.style, options.quality), options)
    facts = _facts(planned, rate, workers or cores(), price_per_hour)
    if as_json:
        output.print_json(facts)
        return
    for name, value in facts.items():
        if value is not None and name != "notes":
            output.stdout.print(f"{name.replace('_', ' '):18} {value}")
    for note in planned.notes:
        output.stdout.print(f"note: {note}")
    if rate is None:
        output.stdout.print("for time and cost say --style (it is measured) or --rate")


def styles(as_json: output.AsJson = False) -> None:
    """List the styles that ship with Penstock and those that are registered."""
    found = _library().styles()
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
    output.stdout.print(f"{published.model} {published.version}, {live}")


def _options(style: str, **given: Any) -> "FilmOptions":
    """The options, by the same rules as those of an upload."""
    from models.videos import film_options

    texts = {name: str(value) for name, value in given.items() if value is not None}
    return film_options({"style": style, **texts})


def _library() -> "StyleLibrary":
    """Shipped styles, and registered ones where a registry is at hand."""
    from models.style.library import StyleLibrary

    there = "DataStorage" in os.environ or Home.default().running() is not None
    blobs = context.open_blobs(context.load_settings()) if there else None
    return StyleLibrary(files("video") / "styles", blobs)


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
        f"process{'es' if made.workers > 1 else ''}, {made.runtime}"
    )
    output.stdout.print(f"before and after: {made.preview}")
    for note in made.notes:
        output.stdout.print(f"note: {note}")


def _measured(source: Path, style: "Style", options: "FilmOptions") -> float:
    from video.estimate import measured_rate

    with output.working("measuring one worker"):
        return measured_rate(source, style, options)


def _facts(plan: "FilmPlan", rate: float | None, workers: int, price: float | None) -> dict[str, Any]:
    workers = min(workers, len(plan.segments))
    worker_s = plan.frames / rate if rate else None
    return {
        "film": f"{plan.source.width}x{plan.source.height}, {plan.source.codec}, {plan.seconds:.2f} s",
        "result": f"{plan.encoder.width}x{plan.encoder.height}, {plan.ending}",
        "frames": plan.frames,
        "segments": len(plan.segments),
        "frames_per_second": round(rate, 2) if rate else None,
        "workers": workers,
        "seconds": round(worker_s / workers, 1) if worker_s else None,
        "worker_hours": round(worker_s / 3600, 4) if worker_s else None,
        "cost": round(worker_s / 3600 * price, 4) if worker_s and price is not None else None,
        "notes": plan.notes,
    }
