"""The stream worker's composition root: `python -m infra.wiring.stream`."""

import ctypes
import gc
import logging
import os
import sys
from typing import Any

from infra.azure.blobs import AzureBlobs
from infra.azure.queues import AzureQueue
from infra.clock import SystemClock
from infra.settings import Settings
from infra.wiring.state import open_state
from models import names
from models.tables import warm_up
from stream.app import create_app
from stream.config import StreamConfig

# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def stream_config(settings: Settings) -> StreamConfig:
    """The settings that the stream's steps follow."""
    return StreamConfig(
        hub=settings.hub,
        spec=settings.spec,
        ratings_hub=settings.ratings_hub,
        allowed_lateness_s=settings.allowed_lateness_s,
        max_ahead_s=settings.max_ahead_s,
        idle_after_s=settings.idle_after_s,
        max_devices=settings.max_devices,
        max_series=settings.max_series,
        max_open_readings=settings.max_open_readings,
        batch_max_age_s=settings.batch_max_age_s,
        checkpoint_interval_s=settings.checkpoint_interval_s,
    )


def build(settings: Settings) -> Any:
    """The Faust app of these settings."""
    connection = settings.data_storage.get_secret_value()
    settings.stream_dir.mkdir(parents=True, exist_ok=True)
    return create_app(
        stream_config(settings),
        bootstrap=settings.kafka_bootstrap,
        group=settings.consumer_group,
        blobs=AzureBlobs(connection),
        queue=AzureQueue(connection, names.SCORE_QUEUE),
        state=open_state(settings),
        clock=SystemClock(),
        session_s=settings.group_session_s,
        web_port=settings.stream_web_port,
        data_dir=settings.stream_dir,
        credentials=_credentials(settings),
    )


def _credentials(settings: Settings) -> Any:
    """SASL PLAIN over TLS with the connection string, as the Kafka endpoint of Event Hubs asks for."""
    if settings.kafka_connection is None:
        return None
    import ssl

    import faust

    return faust.SASLCredentials(
        username="$ConnectionString",
        password=settings.kafka_connection.get_secret_value(),
        ssl_context=ssl.create_default_context(),
    )


def _suit_process_to_columns() -> None:
    """Make malloc, garbage collector and threads fit a process of large arrays and many small objects.

    Arrays go to mappings of their own and back to the system when freed: left alone, glibc raises the limit for that
    to 32 MiB and keeps what it got. The collector would otherwise run every 700 readings, and find no cycle.
    Threads that fetch and store let go of the interpreter at each read of a socket, to get it back in 1 ms, not 5.
    """
    sys.setswitchinterval(0.001)
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 256 * 1024)
        libc.mallopt(_M_TRIM_THRESHOLD, 1024 * 1024)
        libc.mallopt(_M_ARENA_MAX, 2)
    # pyarrow's own pool keeps what it once held.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    import faust

    logging.getLogger("azure").setLevel(logging.WARNING)
    app = build(Settings())
    _suit_process_to_columns()
    warm_up()
    worker = faust.Worker(app, loglevel="INFO", redirect_stdouts=False, logfile=None)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
