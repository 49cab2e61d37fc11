"""The command line: registers the groups, and turns errors into one sentence and an exit code.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 not running.
"""

import os
import sys
from typing import NoReturn

import typer

from infra.cli import alerts, demo, doctor, local, models, queues, status, telemetry, train, up
from models.errors import PenstockError

app = typer.Typer(
    name="penstock",
    help="Event-driven machine learning on Azure parts, whole on one laptop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("down")(local.down)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("status")(status.status)
app.command("logs")(local.logs)
app.add_typer(telemetry.app, name="telemetry")
app.add_typer(alerts.app, name="alerts")
app.add_typer(train.app, name="train")
app.add_typer(models.app, name="models")
app.add_typer(queues.app, name="queues")


def main() -> NoReturn:
    """Entry point of the `penstock` script."""
    try:
        app()
    except PenstockError as error:
        sys.exit(_failed(str(error)))
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


def _failed(message: str) -> int:
    print(f"penstock: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
