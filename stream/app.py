"""The Faust app: one agent that passes chunks to the partitions' workers, and a web view of how they fare."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faust
from faust.serializers import codecs
from faust.types import TP
from faust.web import Request, Response, View

from models.ports import BlobStore, Clock, TaskQueue
from stream.config import StreamConfig
from stream.partition import Partition
from stream.transport import SCHEME, kafka_partition
from stream.worker import Broker, Tail, Workers

# A worker whose partitions stand still for so long although there is more to read is not healthy.
_STUCK_S = 60.0


class _PassThrough(codecs.Codec):  # type: ignore[misc]  # faust has no type stubs
    """Chunks arrive as objects: nothing to decode."""

    def _loads(self, value: Any) -> Any:
        return value

    def _dumps(self, value: Any) -> Any:
        return value


codecs.register("chunk", _PassThrough())


def create_app(
    config: StreamConfig,
    *,
    bootstrap: str,
    group: str,
    blobs: BlobStore,
    queue: TaskQueue,
    clock: Clock,
    session_s: float,
    web_port: int,
    data_dir: Path,
    credentials: Any = None,
) -> faust.App:
    """The stream worker as a Faust app; several of them with one `group` share the hub's partitions.

    `session_s`: a worker silent for so long loses its partitions. `credentials`: of the broker, None for plain text.
    """
    app = faust.App(
        group,
        broker=f"{SCHEME}://{bootstrap}",
        broker_credentials=credentials,
        broker_session_timeout=session_s,
        broker_heartbeat_interval=session_s / 4,
        broker_rebalance_timeout=max(session_s, 10.0),
        broker_commit_interval=2.0,
        # Event Hubs closes connections that idle for four minutes and forgets metadata as fast.
        consumer_connections_max_idle_ms=180_000,
        consumer_metadata_max_age_ms=180_000,
        producer_connections_max_idle_ms=180_000,
        producer_metadata_max_age_ms=180_000,
        broker_max_poll_records=20_000,
        consumer_max_fetch_size=1_048_576,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=4,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        datadir=str(data_dir),
        web_bind="127.0.0.1",
        web_host="127.0.0.1",
        web_port=web_port,
        autodiscover=False,
        worker_redirect_stdouts=False,
    )
    workers = Workers(lambda number: Partition(config, number, blobs, queue, clock), _broker_of(app))
    app.positions = workers
    events = app.topic(config.hub, acks=False, value_serializer="chunk", value_type=None)

    @app.agent(events, name="window")  # type: ignore[untyped-decorator]  # faust has no type stubs
    async def window(stream: Any) -> None:
        async for event in stream.events():
            tp, chunk = event.message.tp, event.value
            # Faust's events and messages refer to each other: without this, chunks would stay until a collection.
            event.value = event.message.value = None
            await workers.put(tp, chunk)
            del chunk

    _add_views(app, workers)
    return app


def _broker_of(app: faust.App) -> Broker:
    def kafka() -> Any:
        return app.consumer._thread._ensure_consumer()  # noqa: SLF001  # Faust offers no public way to it

    async def seek(tp: TP, offset: int) -> None:
        await app.consumer.seek(kafka_partition(tp), offset)
        app.consumer._read_offset[tp] = offset  # noqa: SLF001  # or Faust drops the records as already read

    def tail(tp: TP) -> Tail | None:
        consumer, partition = kafka(), kafka_partition(tp)
        if partition not in consumer.assignment():
            return None
        end, polled_ms = consumer.highwater(partition), consumer.last_poll_timestamp(partition)
        return None if end is None or polled_ms is None else Tail(end, polled_ms / 1000)

    return Broker(seek, tail)


def _add_views(app: faust.App, workers: Workers) -> None:
    broker_tail: Callable[[TP], Tail | None] = _broker_of(app).tail
    moved: dict[TP, tuple[int, float]] = {}

    def partitions() -> dict[str, dict[str, Any]]:
        view = {}
        for tp, worker in sorted(workers.running.items()):
            status: dict[str, Any] = dict(worker.partition.status())
            tail = broker_tail(tp)
            status["end_offset"] = tail.end_offset if tail else None
            status["lag"] = max(tail.end_offset - status["offset"], 0) if tail else None
            view[str(tp.partition)] = status
        return view

    def stuck() -> list[str]:
        now, late = time.monotonic(), []
        for tp, worker in workers.running.items():
            offset, tail = worker.partition.next_offset, broker_tail(tp)
            behind = tail is not None and tail.end_offset > offset
            if not behind or moved.get(tp, (-1, 0.0))[0] != offset:
                moved[tp] = (offset, now)
            elif now - moved[tp][1] > _STUCK_S:
                late.append(f"partition {tp.partition} has stood at offset {offset} for {now - moved[tp][1]:.0f} s")
        return late

    @app.page("/penstock/status/")  # type: ignore[untyped-decorator]  # faust has no type stubs
    async def status(view: View, request: Request) -> Response:
        by_partition = partitions()
        summed = ("events", "readings", "duplicates", "late", "dead_lettered", "windows", "batches", "devices")
        totals = {name: sum(p[name] for p in by_partition.values()) for name in summed}
        totals["open_readings"] = sum(p["open_readings"] for p in by_partition.values())
        totals["lag"] = sum(p["lag"] or 0 for p in by_partition.values())
        return view.json({"partitions": by_partition, "totals": totals})

    @app.page("/penstock/health/")  # type: ignore[untyped-decorator]  # faust has no type stubs
    async def health(view: View, request: Request) -> Response:
        problems = stuck()
        if not app.consumer or not app.tables.recovery.completed.is_set():
            problems.append("partitions are not assigned yet")
        return view.json({"healthy": not problems, "problems": problems}, status=503 if problems else 200)
