"""The command line, called as a script calls it."""

import json

from typer.testing import CliRunner

from infra.cli import main


def penstock(*arguments: str) -> dict[str, object]:
    """What a command that must succeed says with `--json`."""
    done = CliRunner().invoke(main.app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.stdout)
    return found
