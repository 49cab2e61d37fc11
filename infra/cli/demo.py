"""`penstock demo`: the whole path once, in a data folder and on ports of its own."""

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from infra.cli import output
from infra.local.home import Home
from models.errors import PenstockError

if TYPE_CHECKING:
    from infra.feed.replay import ReplayReport
    from infra.simulation import Fault, Fleet

_REPLAYED_MINUTES = 30
_LIVE_SPEED = 10.0


class DemoFailed(PenstockError):
    """A stage of the demo did not do its work; the message says which."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What `demo --json` prints. Counts cover everything that the demo fed."""

    readings: int
    windows: int
    scored: int
    learning: int
    late: int
    duplicates: int
    dead_lettered: int
    alerts: int
    faults_injected: int
    faults_found: int
    alerts_without_fault: int
    series_trained: int
    model_version: str
    film_frames: int
    film_seconds: float
    film_style: str
    film_picture: str
    """A frame before, and after beside it."""
    restarts: int
    start_seconds: float
    train_seconds: float
    seconds: float


def demo(
    devices: Annotated[int, typer.Option(min=1, max=1000, help="Simulated devices, three sensors each.")] = 10,
    seed: Annotated[int, typer.Option(help="The same seed gives the same devices.")] = 7,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data folder; its path goes to stderr.")] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Where to write a frame of the film before and after (PNG).")
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Start everything, train, feed simulated devices with faults, stylise a film, wait for all of it, stop.

    Exit code 0 only if every stage did its work.
    """
    from infra.simulation import Fleet

    folder = Path(tempfile.mkdtemp(prefix="penstock-demo-"))
    try:
        shown = picture or Path(tempfile.gettempdir()) / "penstock-demo.png"
        summary = _run(Home(folder), Fleet(seed=seed, devices=devices), shown)
        _check(summary)
    except BaseException:
        output.stderr.print(f"logs are in {folder / 'logs'}")
        raise
    if keep:
        output.stderr.print(f"data folder: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        output.print_json(summary)
        return
    rows = [(name.replace("_", " "), value) for name, value in msgspec.structs.asdict(summary).items()]
    output.stdout.print(output.table(("demo", ""), rows))


def _run(home: Home, fleet: "Fleet", picture: Path) -> Summary:
    from infra.cli import demo_film, showcase
    from infra.cli.context import open_results, settings_of
    from infra.cli.launch import install_azurite, launch
    from infra.feed.replay import check
    from infra.local.runtime_ports import RuntimePorts
    from infra.simulation import plan_faults

    begun = time.monotonic()
    with output.working("starting hub, Azurite, functions, stream, trainer, video worker"):
        install_azurite()
        runtime = launch(home, RuntimePorts.free())
    started = time.monotonic()
    try:
        settings = settings_of(home)
        clip, job = demo_film.submit_film(settings, home.run)
        now_us = time.time_ns() // 1000
        # The last whole minute is left for the live part: a window cut short would look odd to the model.
        end_us = now_us // showcase.MINUTE_US * showcase.MINUTE_US - showcase.MINUTE_US
        start_us = end_us - _REPLAYED_MINUTES * showcase.MINUTE_US
        with output.working("training on two simulated hours"):
            trained = showcase.train(home, fleet, start_us)
        trained_at = time.monotonic()
        faults = plan_faults(fleet.series, start_us, end_us, seed=fleet.seed, every_s=150.0)
        with output.working("feeding devices with faults, waiting for scores"):
            reports = asyncio.run(_feed(home, fleet, faults, start_us, end_us))
        for report in reports:
            check(report, settings.spec)
        alerts = open_results(settings).alerts()
        found = showcase.found_faults(faults, alerts, settings.spec.size_us)
        explained = sum(bool(showcase.found_faults(faults, [alert], settings.spec.size_us)) for alert in alerts)
        with output.working("waiting for the film"):
            film = demo_film.finish_film(settings, clip, job, picture)
        state = home.running()
        restarts = sum(part.restarts for part in state.parts) if state else 0
    finally:
        with output.working("stopping"):
            runtime.stop()
    first, live = reports
    return Summary(
        readings=first.readings + live.readings,
        windows=first.windows + live.windows,
        scored=first.scored + live.scored,
        learning=first.learning + live.learning,
        late=first.late + live.late,
        duplicates=first.duplicates + live.duplicates,
        dead_lettered=first.dead_lettered + live.dead_lettered,
        alerts=len(alerts),
        faults_injected=len(faults),
        faults_found=len(found),
        alerts_without_fault=len(alerts) - explained,
        series_trained=trained["fitted"],
        model_version=trained["version"],
        film_frames=film.frames,
        film_seconds=film.seconds,
        film_style=film.style,
        film_picture=film.picture,
        restarts=restarts,
        start_seconds=round(started - begun, 2),
        train_seconds=round(trained_at - started, 2),
        seconds=round(time.monotonic() - begun, 2),
    )


async def _feed(
    home: Home, fleet: "Fleet", faults: "list[Fault]", start_us: int, end_us: int
) -> "list[ReplayReport]":
    """The past with its faults as fast as it goes, then a minute at a steady pace, over AMQP."""
    from infra.cli.context import open_results, settings_of
    from infra.cli.showcase import MINUTE_US, histories
    from infra.feed.replay import run_live, run_replay

    settings = settings_of(home)
    results = open_results(settings)
    past = await run_replay(settings, histories(fleet, start_us, end_us, faults), results)
    minute = histories(fleet, end_us, end_us + MINUTE_US)
    now = await run_live(settings, minute, results, speed=_LIVE_SPEED)
    return [past, now]


def _check(summary: Summary) -> None:
    """Raise DemoFailed unless every stage did its work; the invariant of readings was checked before."""
    if summary.windows == 0 or summary.scored != summary.windows:
        raise DemoFailed(f"{summary.scored} of {summary.windows} windows were scored ({summary.learning} learning)")
    if summary.late or summary.duplicates or summary.dead_lettered:
        raise DemoFailed(
            f"{summary.late} readings late, {summary.duplicates} duplicates, {summary.dead_lettered} dead-lettered; "
            "expected none"
        )
    if 2 * summary.faults_found < summary.faults_injected:
        raise DemoFailed(f"{summary.faults_found} of {summary.faults_injected} injected faults raised an alert")
