"""The command line: `serve`, and commands that look into a running hub."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .serve import add_serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 after a clean stop, 2 if the hub cannot start."""
    options = _parser().parse_args(arguments)
    code: int = options.run(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local.eventhubs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_serve(commands)
    return parser
