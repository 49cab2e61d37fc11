"""`penstock alerts`."""

from typing import Annotated

import typer

from infra.cli import output
from infra.cli.context import load_settings, open_results
from models.contracts import AlertStatus

app = typer.Typer(no_args_is_help=True, help="Alerts: episodes of anomalous windows.")


@app.callback()
def _group() -> None:
    """Alerts: episodes of anomalous windows."""


@app.command("list")
def list_alerts(
    device: Annotated[str | None, typer.Option(help="Only of this device.")] = None,
    sensor: Annotated[str | None, typer.Option(help="Only of this sensor.")] = None,
    status: Annotated[AlertStatus | None, typer.Option(help="Only in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest.")] = 1000,
    as_json: output.AsJson = False,
) -> None:
    """List alerts, latest first."""
    results = open_results(load_settings())
    found = results.alerts(device=device, sensor=sensor, status=status)
    if as_json:
        output.print_json(found[:limit])
        return
    rows = [
        (alert.device, alert.sensor, iso(alert.start_us), alert.windows, f"{alert.peak_score:.2f}", alert.status)
        for alert in found[:limit]
    ]
    output.stdout.print(output.table(("device", "sensor", "start", "windows", "peak score", "status"), rows))
    output.stdout.print(f"{len(rows)} of {len(found)} alerts")


def iso(us: int) -> str:
    """Epoch microseconds as ISO 8601 in UTC, to the second."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
