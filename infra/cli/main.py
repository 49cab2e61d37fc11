"""The command line: registers the groups, and turns errors into one sentence and an exit code.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 not running; 130 interrupted.
"""

import sys
from typing import NoReturn

import click
import typer

from infra.cli import alerts, demo, doctor, local, models, status, telemetry, train, up
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


def main() -> NoReturn:
    """Entry point of the `penstock` script."""
    try:
        code = app(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as wrong_usage:
        wrong_usage.show()
        sys.exit(wrong_usage.exit_code)
    except PenstockError as error:
        print(f"penstock: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; nothing is left to say.
        sys.stderr.close()
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
