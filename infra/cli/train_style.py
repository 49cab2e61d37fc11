"""`penstock train style`: a network that restyles films, from a picture and a folder of photos."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from infra.cli import context, output
from models.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress

    from infra.settings import Settings
    from training.style.bundle import Bundle, Origin, Trained
    from training.style.run import Loaded, Sources
    from training.style.train import Losses, TrainingOptions

_LINE_EVERY = 100


def style(
    style: Annotated[Path, typer.Option("--style", help="The picture to learn from.", exists=True, dir_okay=False)],
    photos: Annotated[Path, typer.Option(help="Folder of photos to train on.", exists=True, file_okay=False)],
    vgg: Annotated[
        Path,
        typer.Option(
            "--vgg", help="Weights of a normalised VGG-19 to relu3_1 (PyTorch).", exists=True, dir_okay=False
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the style, for example starry-night.")],
    quality: Annotated[Literal["fast", "fine"], typer.Option(help="Size of the network.")] = "fine",
    steps: Annotated[int, typer.Option(help="Steps of training.", min=1)] = 1000,
    batch: Annotated[int, typer.Option(help="Crops per step.", min=1)] = 2,
    crop: Annotated[int, typer.Option(help="Side of a crop in pixels, a multiple of 4.", min=64)] = 128,
    style_size: Annotated[
        int, typer.Option(help="The picture's shorter side in pixels: larger gives larger strokes.", min=64)
    ] = 320,
    content_weight: Annotated[float, typer.Option(help="More keeps more of the photo.", min=0)] = 0.3,
    stability_weight: Annotated[float, typer.Option(help="More flickers less; 0 turns it off.", min=0)] = 10.0,
    learning_rate: Annotated[float, typer.Option(help="Highest step size of Adam.")] = 1e-3,
    start: Annotated[
        Path | None,
        typer.Option(help="Begin with this network (ONNX, made by this command, same quality).", dir_okay=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, crops and motion.")] = 0,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads on the CPU.", min=1, show_default="all")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder of checkpoint and previews.", show_default="style-NAME-QUALITY")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the network into this folder instead of the registry.", file_okay=False)
    ] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Make it live at once.")] = False,
    title: Annotated[str, typer.Option(help="Title of the style, for lists and the card.")] = "",
    picture: Annotated[str, typer.Option(help="Whose picture it is, for the card.")] = "",
    photos_of: Annotated[str, typer.Option(help="Whose photos, under which terms, for the card.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the network, for the card.")] = "",
    as_json: output.AsJson = False,
) -> None:
    """Train a network that paints like a picture, and register it; a second start goes on where the first ended.

    Needs a running Penstock unless --out names a folder.
    """
    from models.style.manifest import is_style_name

    if not is_style_name(name):
        raise BadInput(f"--name: expected 1..40 of a-z, 0-9 and '-', got {name!r}")
    if promote and out is not None:
        raise BadInput("--promote makes a registered version live; with --out nothing is registered")
    settings = context.load_settings() if out is None else None
    from training.style.bundle import Origin
    from training.style.network import ARCHITECTURES
    from training.style.run import Sources, train_style
    from training.style.train import TrainingOptions

    options = TrainingOptions(
        architecture=ARCHITECTURES[quality],
        steps=steps,
        batch=batch,
        crop=crop,
        learning_rate=learning_rate,
        content_weight=content_weight,
        stability_weight=stability_weight,
        style_size=style_size,
        seed=seed,
        start=start.name if start else "",
    )
    origin = Origin(
        title=title or name,
        picture=picture or style.name,
        photos=photos_of or f"those of a folder {photos.name!r}",
        weights=f"VGG-19 to relu3_1, file {vgg.name}",
        licence=licence,
    )
    files = Sources(picture=style, photos=photos, weights=vgg, start=start)
    folder = work or Path(f"style-{name}-{quality}")
    folder.mkdir(parents=True, exist_ok=True)
    loaded = _loaded(files, options, device, threads)
    with output.progress_bar(shown=not as_json) as bar:
        made, trained = train_style(
            loaded,
            options,
            style=name,
            quality=quality,
            title=origin.title,
            licence=licence,
            work=folder,
            clock=time.monotonic,
            on_step=_shown(bar, steps),
        )
    document = _document(made, trained)
    if out is not None:
        document |= _written(out, made, origin, trained)
    if settings is not None:
        document |= _registered(settings, made, origin, trained, promote=promote)
    if as_json:
        output.print_json(document)
    else:
        output.stdout.print(output.table(("figure", "value"), list(document.items())))


def _loaded(files: "Sources", options: "TrainingOptions", device: str, threads: int | None) -> "Loaded":
    import torch

    from training.style.run import Loaded

    if threads is not None:
        torch.set_num_threads(threads)
    if device == "cuda" and not torch.cuda.is_available():
        raise BadInput("--device cuda: PyTorch finds no CUDA device; use --device cpu")
    chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    with output.working("reading the pictures"):
        return Loaded.read(files, options, torch.device(chosen))


def _shown(bar: "Progress", steps: int) -> "Callable[[int, Losses], None]":
    """Shows the losses of every step beside the bar; without a terminal, of every hundredth on a line."""
    task = bar.add_task("training", total=steps)

    def show(step: int, losses: "Losses") -> None:
        text = f"style {losses.style:.3f} content {losses.content:.3f} stability {losses.stability:.5f}"
        bar.update(task, completed=step + 1, description=text)
        if bar.disable and (step + 1) % _LINE_EVERY == 0:
            output.stderr.print(f"step {step + 1} of {steps}: {text}")

    return show


def _written(out: Path, made: "Bundle", origin: "Origin", trained: "Trained") -> dict[str, Any]:
    from training.style.bundle import CARD, card, write_bundle

    write_bundle(out, made)
    (out / CARD).write_text(card(made.manifest.style, origin, [trained]), encoding="utf-8")
    return {"folder": str(out)}


def _registered(
    settings: "Settings", made: "Bundle", origin: "Origin", trained: "Trained", *, promote: bool
) -> dict[str, Any]:
    from infra.clock import SystemClock
    from training.style.register import register_style

    blobs = context.open_blobs(settings)
    version = register_style(blobs, made, origin, trained, SystemClock(), promote=promote)
    return {"version": version, "promoted": promote}


def _document(made: "Bundle", trained: "Trained") -> dict[str, Any]:
    scores = trained.scores
    return {
        "style": made.manifest.style,
        "quality": made.manifest.quality,
        "steps": trained.options.steps,
        "style_loss": round(scores.style, 4),
        "style_loss_of_photos": round(scores.style_of_photos, 4),
        "content_loss": round(scores.content, 4),
        "warp_error": scores.warp_error,
        "warp_error_of_input": scores.warp_error_of_input,
        "largest_activation": round(scores.largest, 1),
        "levels_from_pytorch": made.levels,
        "bytes": len(made.graph),
    }
