"""`penstock video plan`: what `stylise` would do with a film on this machine, and how long that takes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli import output, video_options

if TYPE_CHECKING:
    from models.contracts.film import FilmPlan
    from models.style.library import Style
    from video.estimate import Estimate


def plan(
    source: video_options.Film,
    style: Annotated[str | None, typer.Option(help="Measure this style for a few seconds.")] = None,
    quality: video_options.Quality = "fine",
    size: video_options.Size = None,
    scale: video_options.Scale = 1.0,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Frames/s of one worker, instead of measuring.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="How many work at once.", show_default="one per core")
    ] = None,
    price_per_hour: Annotated[float | None, typer.Option(min=0, help="Of one worker, in any currency.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Say into what `stylise` divides a film, how long it will take, and what that costs."""
    from video.crew import cores
    from video.estimate import Estimate
    from video.film import plan_for

    limits = video_options.limits()
    options = video_options.options(style or "none", limits, quality=quality, scale=scale, size=size)
    workers = workers or cores()
    planned = plan_for(source, options, limits, workers=workers)
    estimate = Estimate(rate, 0.0) if rate else None
    if rate is None and style is not None:
        estimate = _measured(source, planned, video_options.find_style(options), min(workers, cores()))
    facts = _facts(planned, estimate, workers, price_per_hour)
    if as_json:
        output.print_json(facts)
        return
    for name, value in facts.items():
        if value is not None and name != "notes":
            output.stdout.print(f"{name.replace('_', ' '):18} {value}", soft_wrap=True)
    for note in planned.notes:
        output.stdout.print(f"note: {note}", soft_wrap=True)
    if estimate is None:
        output.stdout.print("for time and cost say --style (it is measured) or --rate")


def _measured(source: Path, plan: "FilmPlan", style: "Style", workers: int) -> "Estimate":
    from video.estimate import measure

    with output.working("measuring"):
        return measure(source, plan, style, workers=workers)


def _facts(plan: "FilmPlan", estimate: "Estimate | None", workers: int, price: float | None) -> dict[str, Any]:
    """`frames_per_second`: of one worker. `worker_hours`: of frames alone, without starts."""
    workers = min(workers, len(plan.segments))
    worker_s = plan.frames / estimate.rate if estimate else None
    return {
        "film": f"{plan.source.width}x{plan.source.height}, {plan.source.codec}, {plan.seconds:.2f} s",
        "result": f"{plan.encoder.width}x{plan.encoder.height}, {plan.ending}",
        "frames": plan.frames,
        "segments": len(plan.segments),
        "workers": workers,
        "frames_per_second": round(estimate.rate, 2) if estimate else None,
        "start_seconds": round(estimate.start_s, 1) if estimate and estimate.start_s else None,
        "seconds": round(estimate.start_s + worker_s / workers, 1) if estimate and worker_s else None,
        "worker_hours": round(worker_s / 3600, 4) if worker_s else None,
        "cost": round(worker_s / 3600 * price, 4) if worker_s and price is not None else None,
        "notes": plan.notes,
    }
