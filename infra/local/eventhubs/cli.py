"""The command line of the hub."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import HubError
from .hub import Hub
from .kafka.server import KafkaServer
from .settings import GroupSettings, HubSettings, LogSettings

_REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 after a clean stop, 2 if the hub cannot start."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s eventhubs: %(message)s"
    )
    _allow_many_files()
    try:
        asyncio.run(_serve(_settings(options)))
    except (HubError, OSError) as error:
        print(f"eventhubs: cannot start: {error}", file=sys.stderr)
        return _REFUSED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local.eventhubs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve",
        help="serve a data directory",
        description="Serve a data directory until SIGTERM. A line of JSON on stdout says when and where it is ready.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    log, groups = LogSettings(), GroupSettings()
    serve.add_argument("--data", type=Path, required=True, metavar="DIR", help="where everything is kept")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on")
    serve.add_argument(
        "--advertised-host", help="what clients are told to connect to; None: the address they came in by"
    )
    serve.add_argument("--kafka-port", type=int, default=0, metavar="N", help="0 takes a free one")
    serve.add_argument(
        "--hub", type=_hub, action="append", default=[], metavar="NAME:PARTITIONS", help="have this hub"
    )
    serve.add_argument("--auto-create", action="store_true", help="create unknown topics on first use")
    serve.add_argument("--default-partitions", type=int, default=4, metavar="N")
    serve.add_argument("--max-partitions", type=int, default=32, metavar="N", help="of one topic")
    serve.add_argument("--fsync", choices=("none", "interval", "group"), default=log.fsync)
    serve.add_argument("--fsync-interval-s", type=float, default=log.fsync_interval_s, metavar="S")
    serve.add_argument("--segment-bytes", type=int, default=log.segment_bytes, metavar="N")
    serve.add_argument("--retention-ms", type=int, default=log.retention_ms, metavar="N", help="-1: for ever")
    serve.add_argument("--retention-bytes", type=int, default=log.retention_bytes, metavar="N", help="-1: any size")
    serve.add_argument("--retention-check-s", type=float, default=log.retention_check_s, metavar="S")
    serve.add_argument("--min-session-timeout-ms", type=int, default=groups.min_session_timeout_ms, metavar="N")
    serve.add_argument("--max-session-timeout-ms", type=int, default=groups.max_session_timeout_ms, metavar="N")
    serve.add_argument(
        "--initial-rebalance-delay-ms", type=int, default=groups.initial_rebalance_delay_ms, metavar="N"
    )
    return parser


def _hub(text: str) -> tuple[str, int]:
    name, colon, partitions = text.rpartition(":")
    if not colon or not partitions.isdecimal():
        raise argparse.ArgumentTypeError(f"expected NAME:PARTITIONS, got {text!r}")
    return name, int(partitions)


def _settings(options: argparse.Namespace) -> HubSettings:
    return HubSettings(
        data_dir=options.data,
        hubs=dict(options.hub),
        host=options.host,
        advertised_host=options.advertised_host,
        kafka_port=options.kafka_port,
        auto_create=options.auto_create,
        default_partitions=options.default_partitions,
        max_partitions=options.max_partitions,
        log=LogSettings(
            fsync=options.fsync,
            fsync_interval_s=options.fsync_interval_s,
            segment_bytes=options.segment_bytes,
            retention_ms=options.retention_ms,
            retention_bytes=options.retention_bytes,
            retention_check_s=options.retention_check_s,
        ),
        groups=GroupSettings(
            min_session_timeout_ms=options.min_session_timeout_ms,
            max_session_timeout_ms=options.max_session_timeout_ms,
            initial_rebalance_delay_ms=options.initial_rebalance_delay_ms,
        ),
    )


def _allow_many_files() -> None:
    """Every segment keeps its file open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(settings: HubSettings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopped.set)
    hub = Hub(settings)
    try:
        kafka = KafkaServer(hub)
        await kafka.start()
        try:
            print(json.dumps({"ready": True, "kafka_port": kafka.port}), flush=True)
            await stopped.wait()
        finally:
            await kafka.close()
    finally:
        await hub.close()
