"""The command line: `serve`, commands that look into a running hub, and `cut` for a damaged one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .repair import add_cut
from .serve import add_serve

CONNECTION_VARIABLE = "EVENTHUBS_CONNECTION_STRING"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 when all went well, 1 or 2 after a message on stderr."""
    options = _parser().parse_args(arguments)
    code: int = options.run(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local.eventhubs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_serve(commands)
    add_cut(commands)
    _add(commands, "hubs", "list hubs, partitions, and how many events they hold")
    _add(commands, "groups", "list groups, their state and members")
    lag = _add(commands, "lag", "list how far groups are behind")
    lag.add_argument("group", nargs="?", help="only this one")
    tail = _add(commands, "tail", "print events as JSON lines, as they come")
    tail.add_argument("hub")
    tail.add_argument("--from", dest="start", choices=("earliest", "latest"), default="latest")
    tail.add_argument("--count", type=int, metavar="N", help="stop after so many")
    tail.add_argument("--until-end", action="store_true", help="stop at what is the end now")
    reset = _add(commands, "reset-offsets", "move a group without members")
    reset.add_argument("group")
    reset.add_argument("hub")
    reset.add_argument(
        "--to", required=True, metavar="WHERE", help="earliest, latest, an offset, or a time as 2026-01-31T12:00:00Z"
    )
    produce = _add(commands, "produce", "send each line of standard input as an event")
    produce.add_argument("hub")
    produce.add_argument("--key", help="of all events")
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, description: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=description, description=description)
    command.add_argument("--bootstrap", default="127.0.0.1:9092", metavar="HOST:PORT", help="the hub's Kafka port")
    command.add_argument("--tls-ca", metavar="PEM", help="connect with TLS, trusting this certificate")
    command.epilog = f"A hub that requires keys gets the connection string in {CONNECTION_VARIABLE}."
    command.set_defaults(run=_ask)
    return command


def _ask(options: argparse.Namespace) -> int:
    from .client import run  # the hub itself needs no Kafka client

    return run(options)
