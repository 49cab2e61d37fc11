"""The command `serve`: a data directory, its endpoints, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import resource
import signal
import ssl
import sys
from pathlib import Path

from .amqp.server import AmqpServer
from .config_file import KEY_VARIABLE, read_config, read_keys
from .errors import CannotStart, HubError
from .http import StatusServer
from .hub import Hub
from .kafka.server import KafkaServer
from .namespace import Entity, Namespace, checked_entities
from .settings import GroupSettings, HubSettings, LogSettings
from .tiers import TIERS, tier_of

_REFUSED = 2
_log = logging.getLogger(__name__)


def add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    serve = commands.add_parser(
        "serve",
        help="serve a data directory",
        description="Serve a data directory until SIGTERM. A line of JSON on stdout says when and where it is ready.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    serve.set_defaults(run=_run)
    serve.add_argument("--data", type=Path, required=True, metavar="DIR", help="where everything is kept")
    _add_network(serve)
    _add_namespace(serve)
    _add_log(serve)
    _add_groups(serve)


def _add_network(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on")
    serve.add_argument(
        "--advertised-host", help="what clients are told to connect to; None: the address they came in by"
    )
    serve.add_argument("--kafka-port", type=int, default=0, metavar="N", help="0 takes a free one")
    serve.add_argument("--amqp-port", type=int, default=0, metavar="N", help="0 takes a free one")
    serve.add_argument("--http-port", type=int, metavar="N", help="status page, /health and /metrics; 0: a free one")
    serve.add_argument(
        "--tls-cert", type=Path, metavar="PEM", help="speak TLS with this certificate, over Kafka and AMQP"
    )
    serve.add_argument("--tls-key", type=Path, metavar="PEM", help="its key, if the certificate's file lacks it")


def _add_namespace(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--config", type=Path, metavar="FILE", help="hubs and groups, in the emulator's Config.json")
    serve.add_argument(
        "--hub", type=_hub, action="append", default=[], metavar="NAME:PARTITIONS", help="have this hub"
    )
    serve.add_argument(
        "--consumer-group", type=_group, action="append", default=[], metavar="HUB:GROUP", help="besides $Default"
    )
    serve.add_argument(
        "--keys", type=Path, metavar="FILE", help=f"access keys as JSON; else {KEY_VARIABLE}, else the emulator's key"
    )
    serve.add_argument("--require-keys", action="store_true", help="refuse clients that show no key")
    serve.add_argument("--tier", choices=sorted(TIERS), help="have the limits of this tier; None: roomier ones")
    serve.add_argument(
        "--throughput-units", type=int, metavar="N", help="slow clients down as so many throughput units do"
    )
    serve.add_argument("--only-gzip", action="store_true", help="refuse other compressions, as Event Hubs does")
    serve.add_argument("--auto-create", action="store_true", help="create unknown topics on first use")
    serve.add_argument("--default-partitions", type=int, default=4, metavar="N")
    serve.add_argument("--max-partitions", type=int, metavar="N", help="of one topic; None: what the tier allows")


def _add_log(serve: argparse.ArgumentParser) -> None:
    log = LogSettings()
    serve.add_argument("--fsync", choices=("none", "interval", "group"), default=log.fsync)
    serve.add_argument("--fsync-interval-s", type=float, default=log.fsync_interval_s, metavar="S")
    serve.add_argument("--segment-bytes", type=int, default=log.segment_bytes, metavar="N")
    serve.add_argument("--retention-ms", type=int, default=log.retention_ms, metavar="N", help="-1: for ever")
    serve.add_argument("--retention-bytes", type=int, default=log.retention_bytes, metavar="N", help="-1: any size")
    serve.add_argument("--retention-check-s", type=float, default=log.retention_check_s, metavar="S")
    serve.add_argument(
        "--compaction-bytes",
        type=int,
        default=log.compaction_bytes,
        metavar="N",
        help="compact a partition when this much has been written to it since, and as much as it held",
    )


def _add_groups(serve: argparse.ArgumentParser) -> None:
    groups = GroupSettings()
    serve.add_argument("--min-session-timeout-ms", type=int, default=groups.min_session_timeout_ms, metavar="N")
    serve.add_argument("--max-session-timeout-ms", type=int, default=groups.max_session_timeout_ms, metavar="N")
    serve.add_argument(
        "--initial-rebalance-delay-ms", type=int, default=groups.initial_rebalance_delay_ms, metavar="N"
    )


def _hub(text: str) -> tuple[str, int]:
    name, colon, partitions = text.rpartition(":")
    if not colon or not partitions.isdecimal():
        raise argparse.ArgumentTypeError(f"expected NAME:PARTITIONS, got {text!r}")
    return name, int(partitions)


def _group(text: str) -> tuple[str, str]:
    hub, colon, group = text.partition(":")
    if not colon or not hub or not group:
        raise argparse.ArgumentTypeError(f"expected HUB:GROUP, got {text!r}")
    return hub, group


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s eventhubs: %(message)s"
    )
    _allow_many_files()
    try:
        asyncio.run(_serve(_settings(options), _tls(options.tls_cert, options.tls_key)))
    except (HubError, OSError) as error:
        print(f"eventhubs: cannot start: {error}", file=sys.stderr)
        return _REFUSED
    return 0


def _namespace(options: argparse.Namespace) -> Namespace:
    tier = tier_of(options.tier)
    name, configured = read_config(options.config) if options.config else (Namespace().name, [])
    entities = {entity.name: entity for entity in checked_entities(configured, tier).values()}
    for hub, partitions in options.hub:
        known = entities.get(hub)
        entities[hub] = Entity(hub, partitions, known.consumer_groups if known else frozenset())
    for hub, group in options.consumer_group:
        if hub not in entities:
            raise CannotStart(f"--consumer-group {hub}:{group}: there is no --hub {hub}:PARTITIONS")
        entity = entities[hub]
        entities[hub] = Entity(hub, entity.partitions, entity.consumer_groups | {group})
    return Namespace(
        name, tier, checked_entities(entities.values(), tier), read_keys(options.keys), options.require_keys
    )


def _settings(options: argparse.Namespace) -> HubSettings:
    namespace = _namespace(options)
    return HubSettings(
        data_dir=options.data,
        hubs={entity.name: entity.partitions for entity in namespace.entities.values()},
        host=options.host,
        advertised_host=options.advertised_host,
        kafka_port=options.kafka_port,
        amqp_port=options.amqp_port,
        http_port=options.http_port,
        auto_create=options.auto_create,
        default_partitions=options.default_partitions,
        max_partitions=options.max_partitions or namespace.tier.max_partitions,
        only_gzip=options.only_gzip,
        throughput_units=options.throughput_units,
        namespace=namespace,
        log=LogSettings(
            fsync=options.fsync,
            fsync_interval_s=options.fsync_interval_s,
            segment_bytes=options.segment_bytes,
            max_batch_bytes=namespace.tier.max_publication_bytes,
            retention_ms=namespace.tier.at_most_kept(options.retention_ms),
            retention_bytes=options.retention_bytes,
            retention_check_s=options.retention_check_s,
            compaction_bytes=options.compaction_bytes,
        ),
        groups=GroupSettings(
            min_session_timeout_ms=options.min_session_timeout_ms,
            max_session_timeout_ms=options.max_session_timeout_ms,
            initial_rebalance_delay_ms=options.initial_rebalance_delay_ms,
        ),
    )


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        if key is not None:
            raise CannotStart("--tls-key needs --tls-cert")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise CannotStart(f"{certificate}: no certificate with its key, in PEM ({error})") from error
    return context


def _allow_many_files() -> None:
    """Every segment keeps its file open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(settings: HubSettings, tls: ssl.SSLContext | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopped.set)
    async with contextlib.AsyncExitStack() as stack:
        hub = Hub(settings)
        stack.push_async_callback(hub.close)
        ports: dict[str, int | None] = {"kafka_port": None}
        if settings.namespace.tier.kafka:
            kafka = KafkaServer(hub, tls)
            stack.push_async_callback(kafka.close)
            await kafka.start()
            ports["kafka_port"] = kafka.port
        else:
            _log.info("no Kafka endpoint: the tier %s has none", settings.namespace.tier.name)
        amqp = AmqpServer(hub, tls)
        stack.push_async_callback(amqp.close)
        await amqp.start()
        ports["amqp_port"] = amqp.port
        if settings.http_port is not None:
            status = StatusServer(hub)
            stack.push_async_callback(status.close)
            await status.start()
            ports["http_port"] = status.port
        print(json.dumps({"ready": True, **ports}), flush=True)
        await stopped.wait()
