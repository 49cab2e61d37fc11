"""`penstock telemetry`: simulate devices, replay files, read predictions."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import output
from infra.cli.context import load_settings, open_blobs, open_results
from models.errors import BadInput

if TYPE_CHECKING:
    from infra.feed.replay import ReplayReport
    from infra.feed.results import Results
    from infra.settings import Settings
    from models.tables import Readings

app = typer.Typer(no_args_is_help=True)
_LONGEST_S = 366 * 86_400.0


@app.callback()
def _group() -> None:
    """Device readings: simulate, replay, read what came out."""


@app.command()
def simulate(
    devices: Annotated[int, typer.Option(min=1, help="Devices.")] = 10,
    sensors: Annotated[int, typer.Option(min=1, help="Sensors per device.")] = 3,
    rate: Annotated[float, typer.Option(min=0.001, max=1000, help="Readings per second of each sensor.")] = 1.0,
    seconds: Annotated[float, typer.Option(min=1, max=_LONGEST_S, help="How long to feed.")] = 60.0,
    faults: Annotated[int, typer.Option(min=0, help="Faults to inject, spread over the time.")] = 0,
    history: Annotated[
        float, typer.Option(min=0, max=_LONGEST_S, help="Seconds of past readings to send first.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same devices.")] = 7,
    prefix: Annotated[str, typer.Option(help="Begin of the device names.")] = "sim",
    as_json: output.AsJson = False,
) -> None:
    """Feed simulated devices in real time, over AMQP; print what was sent and which faults were injected."""
    from infra.feed.device_sender import DeviceSender
    from infra.feed.live import LiveFeed
    from infra.simulation import Fault, Fleet, plan_faults

    settings = load_settings()
    fleet = Fleet(seed=seed, devices=devices, sensors=sensors, rate_hz=rate, prefix=prefix)
    start_us = time.time_ns() // 1000
    end_us = start_us + round(seconds * 1e6)
    planned: list[Fault] = []
    if faults:
        every_s = seconds / faults
        planned = plan_faults(
            fleet.series, start_us, end_us, seed=seed, every_s=every_s, lasting_s=min(180.0, every_s)
        )

    async def run() -> int:
        async with DeviceSender(settings) as sender:
            feed = LiveFeed(fleet, sender, start_us=start_us - round(history * 1e6), faults=planned)
            with output.progress_bar(shown=not as_json) as bar:
                task = bar.add_task("readings")
                while feed.sent_until_us < end_us:
                    await feed.send_due(until_us=end_us)
                    bar.update(task, completed=feed.readings)
                    await asyncio.sleep(0.2)
            await feed.settle()
            return feed.readings

    readings = asyncio.run(run())
    if as_json:
        output.print_json({"readings": readings, "devices": fleet.devices, "faults": planned})
    else:
        output.stdout.print(f"{readings} readings sent from {devices} devices, {len(planned)} faults injected")
        for fault in planned:
            output.stdout.print(f"  {fault.kind} on {fault.device}/{fault.sensor}")


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="CSV file with a header line.", exists=True, dir_okay=False)],
    columns: Annotated[str, typer.Option(help="device=...,sensor=...,ts=...,value=... (column names)")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until all is scored; then account for each reading.")] = False,
    speed: Annotated[
        float | None, typer.Option(min=0.001, max=1e6, help="Event seconds per second; as fast as it goes.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the scores.")] = 600.0,
    as_json: output.AsJson = False,
) -> None:
    """Send the readings of a file over Kafka, in time order per device, then close their windows.

    Exit code 1 when something is missing or counted twice (with --wait), or the wait takes too long.
    """
    from infra.feed.replay import NotAccounted, check

    settings = load_settings()
    report = asyncio.run(_replay(settings, file, columns, wait=wait, speed=speed, timeout_s=timeout, quiet=as_json))
    _print_report(report, waited=wait, as_json=as_json)
    if wait:
        try:
            check(report, settings.spec)
        except NotAccounted as error:
            raise NotAccounted(f"readings are not accounted for: {error}") from error


@app.command()
def predictions(
    out: Annotated[Path | None, typer.Option("--out", help="CSV file to write.")] = None,
    device: Annotated[str | None, typer.Option(help="Only of this device.")] = None,
    sensor: Annotated[str | None, typer.Option(help="Only of this sensor.")] = None,
    since: Annotated[str | None, typer.Option(help="Only windows that start at or after this ISO 8601 time.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Write one CSV row per scored window: features, decision value, score, model version."""
    from infra.feed.export import export_predictions

    results = open_results(load_settings())
    since_us = _since_us(since)
    if out is None:
        import sys

        export_predictions(results, sys.stdout, device=device, sensor=sensor, since_us=since_us)
        return
    with out.open("w", newline="", encoding="utf-8") as file:
        rows = export_predictions(results, file, device=device, sensor=sensor, since_us=since_us)
    if as_json:
        output.print_json({"rows": rows, "out": str(out)})
    else:
        output.stdout.print(f"{rows} windows written to {out}")


@app.command("set-aside")
def set_aside(
    reason: Annotated[
        str | None,
        typer.Option(help="Only these: late, malformed, ahead-of-clock, too-many-devices, too-many-readings."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, of the latest archive segments first.")] = 100,
    ratings: Annotated[bool, typer.Option("--ratings", help="Of the hub of ratings instead.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """List readings and events that are in no window, with the reason and their place in the log.

    The latest are a few seconds old: they are stored with the stream's checkpoints.
    """
    from itertools import islice

    from infra.feed.ratings import set_aside_ratings
    from models.contracts import Reason

    reasons = ["late", *Reason]
    if reason is not None and reason not in reasons:
        raise BadInput(f"--reason: expected one of {', '.join(reasons)}, got {reason!r}")
    settings = load_settings()
    found = (
        set_aside_ratings(open_blobs(settings), settings.ratings_hub)
        if ratings
        else open_results(settings).set_aside()
    )
    listed = list(islice((each for each in found if reason in (None, each.reason)), limit))
    if as_json:
        output.print_json(listed)
        return
    rows = [(each.reason, each.partition, each.offset, each.detail, each.body[:120]) for each in listed]
    output.stdout.print(output.table(("reason", "partition", "offset", "why", "what"), rows))
    output.stdout.print(f"{len(rows)} listed; penstock status has the totals")


async def _replay(
    settings: "Settings", file: Path, columns: str, *, wait: bool, speed: float | None, timeout_s: float, quiet: bool
) -> "ReplayReport":
    from infra.feed.history import by_device
    from infra.feed.replay import patiently, run_replay

    begun = time.monotonic()
    histories = by_device(_read(file, columns))
    readings = sum(map(len, histories))
    results: Results | None = None
    if wait:
        results = await patiently(lambda: open_results(settings), begun + timeout_s)
    with output.progress_bar(shown=not quiet) as bar:
        task = bar.add_task("sent", total=readings)
        return await run_replay(
            settings,
            histories,
            results,
            speed=speed,
            timeout_s=timeout_s,
            advance=lambda count: bar.advance(task, count),
        )


def _read(file: Path, columns: str) -> Iterator["Readings"]:
    from models.csvreadings import CsvColumns, parse_csv

    with file.open(newline="", encoding="utf-8") as lines:
        try:
            yield from parse_csv(lines, CsvColumns.parse(columns))
        except UnicodeDecodeError as error:
            raise BadInput(f"{file}: expected UTF-8 text ({error})") from error
        except BadInput as error:
            raise BadInput(f"{file}: {error}") from error


def _since_us(since: str | None) -> int:
    if since is None:
        return 0
    from datetime import datetime

    from models.contracts import epoch_us

    try:
        return epoch_us(datetime.fromisoformat(since))
    except ValueError as error:
        raise BadInput(f"--since: expected an ISO 8601 time, got {since!r}") from error


def _print_report(report: "ReplayReport", *, waited: bool, as_json: bool) -> None:
    if as_json:
        output.print_json(report if waited else {"readings": report.readings, "seconds": report.seconds})
    elif not waited:
        output.stdout.print(f"{report.readings} readings sent in {report.seconds:.1f} s")
    else:
        output.stdout.print(
            f"{report.readings} readings in {report.seconds:.1f} s: {report.windows} windows, "
            f"{report.scored} scored, {report.learning} learning, {report.late} late, "
            f"{report.duplicates} duplicates, {report.dead_lettered} dead-lettered, {report.alerts} alerts"
        )
