"""The command line: registers the groups, and turns errors into one sentence and an exit code.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 not running.
"""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

import typer

from infra.cli import (
    alerts,
    demo,
    doctor,
    evaluate,
    local,
    models,
    queues,
    ratings,
    recommend,
    runs,
    status,
    sweep,
    telemetry,
    train,
    up,
    video,
    video_clip,
    video_local,
    video_plan,
)
from infra.local.home import Home
from models.errors import PenstockError

# The operating system names no file in these.
_DISK_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
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
app.add_typer(ratings.app, name="ratings")
app.add_typer(sweep.app, name="sweep")
app.command("recommend")(recommend.recommend)
app.command("similar")(recommend.similar)
app.command("variants")(recommend.variants)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(models.app, name="models")
app.add_typer(runs.app, name="runs")
app.add_typer(queues.app, name="queues")
for command in (
    video_clip.clip,
    video_local.stylise,
    video_plan.plan,
    video_local.styles,
    video_local.register,
):
    video.app.command()(command)
app.add_typer(video.app, name="video")


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
    except OSError as error:
        if (message := _about_files(error, sys.argv[1:])) is None:
            raise
        sys.exit(_failed(message))
    sys.exit(0)


def _about_files(error: OSError, arguments: Sequence[str]) -> str | None:
    """One sentence about a full disk, or a path that the user gave or one below it; None for any other: a bug."""
    if error.errno in _DISK_FULL:
        return f"cannot write: {error.strerror}"
    if not isinstance(error.filename, str):
        return None
    values = (argument.partition("=")[2] if argument.startswith("--") else argument for argument in arguments)
    given = [Home.default().root, *(Path(value).absolute() for value in values if value)]
    if not any(Path(error.filename).absolute().is_relative_to(path) for path in given):
        return None
    return f"{error.filename}: {error.strerror}"


def _failed(message: str) -> int:
    print(f"penstock: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
