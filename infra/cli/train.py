"""`penstock train`: fit models and register them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli import context, output, train_als, train_fm, train_style
from models.errors import BadInput

if TYPE_CHECKING:
    from infra.settings import Settings
    from models.ports import BlobStore
    from models.tables import Readings
    from training.svm.fit import Fleet, SvmOptions
    from training.svm.register import Registered

app = typer.Typer(help="Train models and register them.", no_args_is_help=True)

_SHOWN = 20


app.command("als")(train_als.als)
app.command("fm")(train_fm.fm)
app.command("style")(train_style.style)


@app.callback()
def train() -> None:
    """Train models and register them."""


@app.command("svm")
def svm(
    csv: Annotated[Path | None, typer.Option(help="Train on a CSV file.", exists=True, dir_okay=False)] = None,
    columns: Annotated[
        str, typer.Option(help="Columns of the CSV file, as device=...,sensor=...,ts=...,value=...")
    ] = "device=device,sensor=sensor,ts=ts,value=value",
    from_archive: Annotated[
        bool, typer.Option("--from-archive", help="Train on the archive of raw readings.")
    ] = False,
    series: Annotated[
        list[str] | None, typer.Option(help="Only DEVICE/SENSOR, or all sensors of DEVICE; may be repeated.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only readings from this time on (ISO 8601, UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Only readings before this time (ISO 8601, UTC).")] = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make it live; return when running functions use it.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not take over the live version's other series.")] = False,
    nu: Annotated[float, typer.Option(help="Share of training windows that may lie outside.")] = 0.01,
    gamma: Annotated[float, typer.Option(help="Kernel width on scaled features.")] = 0.02,
    min_windows: Annotated[int, typer.Option(help="Windows a series needs.")] = 20,
    max_windows: Annotated[int, typer.Option(help="Latest windows of a series that are used.")] = 5000,
    as_json: output.AsJson = False,
) -> None:
    """Fit one One-Class SVM per (device, sensor) and register them as a new version.

    A series that cannot be fitted is listed with its reason and does not stop the others. The exit code is 1 if no
    series could be fitted.
    """
    from training.svm.fit import SvmOptions

    if (csv is None) != from_archive:
        raise typer.BadParameter("give either --csv FILE or --from-archive")
    try:
        options = SvmOptions(nu=nu, gamma=gamma, min_windows=min_windows, max_windows=max_windows)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    settings = context.load_settings()
    chosen = _Selection(series or [], _time_us(since), _time_us(until))
    registered = _run(settings, csv, columns, chosen, options, promote=promote, fresh=fresh, quiet=as_json)
    if promote:
        from infra.cli.following import await_followed

        await_followed(registered.manifest.version, refresh_s=settings.model_refresh_s)
    if as_json:
        output.print_json(_document(registered, promote))
    else:
        _print(registered, promote)


class _Selection:
    """Which readings to train on."""

    def __init__(self, series: list[str], since_us: int | None, until_us: int | None) -> None:
        self._series = set(series)
        self._since_us, self._until_us = since_us, until_us

    def of(self, readings: "Readings") -> "Readings":
        from training.history import filter_readings

        if not self._series:
            return filter_readings(readings, None, self._since_us, self._until_us)
        wanted = {
            (device, sensor)
            for device, sensor in set(zip(readings.device, readings.sensor, strict=True))
            if device in self._series or f"{device}/{sensor}" in self._series
        }
        return filter_readings(readings, wanted, self._since_us, self._until_us)


def _run(
    settings: "Settings",
    csv: Path | None,
    columns: str,
    chosen: _Selection,
    options: "SvmOptions",
    *,
    promote: bool,
    fresh: bool,
    quiet: bool,
) -> "Registered":
    from infra.clock import SystemClock
    from models.registry import Registry
    from training.svm.publish import Publishing

    blobs = context.open_blobs(settings)
    readings = _archive(blobs, settings.hub, chosen) if csv is None else _file(csv, columns, chosen)
    fleet = _fit(readings, settings, options, quiet=quiet)
    publishing = Publishing(Registry(blobs, settings.model), settings.spec, options, SystemClock())
    return publishing.publish(fleet, promote=promote, fresh=fresh)


def _file(path: Path, columns: str, chosen: _Selection) -> "Iterator[Readings]":
    from models.csvreadings import CsvColumns, parse_csv

    parsed = CsvColumns.parse(columns)
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            yield from map(chosen.of, parse_csv(lines, parsed))
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: expected UTF-8 text: {error}") from error


def _archive(blobs: "BlobStore", hub: str, chosen: _Selection) -> "Iterator[Readings]":
    from training.history import archived_readings

    yield from archived_readings(blobs, hub, chosen.of)


def _fit(readings: "Iterator[Readings]", settings: "Settings", options: "SvmOptions", *, quiet: bool) -> "Fleet":
    from training.history import windows_by_series
    from training.svm.fit import fit_fleet

    with output.progress_bar(shown=not quiet) as bar:
        reading = bar.add_task("reading", total=None)
        sets = windows_by_series(readings, settings.spec, max_windows=options.max_windows)
        bar.remove_task(reading)
        task = bar.add_task("series", total=len(sets))
        return fit_fleet(sets, options, progress=lambda _: bar.advance(task))


def _document(registered: "Registered", promoted: bool) -> dict[str, object]:
    manifest, report = registered.manifest, registered.report
    return {
        "version": manifest.version,
        "promoted": promoted,
        "based_on": manifest.based_on,
        "series": manifest.series,
        "fitted": len(report.fitted),
        "windows": sum(windows for _, _, windows in report.fitted),
        "refused": report.refused,
        "max_parity_difference": report.parity,
        "window": manifest.window,
        "parameters": manifest.parameters,
        "data_fingerprint": manifest.data_fingerprint,
    }


def _print(registered: "Registered", promoted: bool) -> None:
    manifest, report = registered.manifest, registered.report
    rows = [(device, sensor, windows, "trained") for device, sensor, windows in report.fitted]
    refused = [(r.device, r.sensor, r.windows, f"refused: {r.reason}") for r in report.refused]
    output.stdout.print(output.table(("device", "sensor", "windows", "result"), refused[:_SHOWN] + rows[:_SHOWN]))
    if hidden := max(0, len(rows) - _SHOWN) + max(0, len(refused) - _SHOWN):
        output.stdout.print(f"... and {hidden} more")
    output.stdout.print(
        f"\n{len(report.fitted)} series trained on {sum(row[2] for row in rows)} windows, {len(report.refused)} "
        f"refused, {manifest.series} in the bank; parity with scikit-learn {report.parity:.1e}",
        soft_wrap=True,
    )
    state = "live" if promoted else f"not live yet: penstock models promote {manifest.version}"
    output.stdout.print(f"version {manifest.version} ({state})", soft_wrap=True)


def _time_us(text: str | None) -> int | None:
    from models.contracts import epoch_us

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return epoch_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, BadInput) as error:
        raise typer.BadParameter(f"expected an ISO 8601 time, got {text!r}") from error
