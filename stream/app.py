"""The Faust app: an agent per hub that passes chunks to the partitions' workers, and a web view of how they fare."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faust
from faust.serializers import codecs
from faust.types import TP
from faust.web import Request, Response, View

from models.ports import BlobStore, Clock, StateStore, TaskQueue
from stream.config import StreamConfig
from stream.feedback import RatingsPartition
from stream.partition import Partition
from stream.steps import Steps
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
    state: StateStore,
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

    def steps(tp: TP) -> Steps:
        if tp.topic == config.hub:
            return Partition(config, tp.partition, blobs, queue, clock)
        return RatingsPartition(
            tp.topic,
            tp.partition,
            blobs,
            state,
            interval_s=config.checkpoint_interval_s,
            max_ahead_s=config.max_ahead_s,
        )

    workers = Workers(steps, _broker_of(app))
    app.positions = workers
    _add_agent(app, config.hub, "window", workers)
    if config.ratings_hub:
        _add_agent(app, config.ratings_hub, "ratings", workers)
    _add_views(app, config, workers)
    return app


def _add_agent(app: faust.App, hub: str, name: str, workers: Workers) -> None:
    """Read a hub; its agent is one of its own, so that no hub waits for another's."""
    events = app.topic(hub, acks=False, value_serializer="chunk", value_type=None)

    @app.agent(events, name=name)  # type: ignore[untyped-decorator]  # faust has no type stubs
    async def pass_on(stream: Any) -> None:
        async for event in stream.events():
            tp, chunk = event.message.tp, event.value
            # Faust's events and messages refer to each other: without this, chunks would stay until a collection.
            event.value = event.message.value = None
            await workers.put(tp, chunk)
            del chunk


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


_COUNTED = ("events", "readings", "duplicates", "late", "dead_lettered", "windows", "batches", "devices")
_RATINGS_COUNTED = ("events", "ratings", "forgets", "dead_lettered")


def _add_views(app: faust.App, config: StreamConfig, workers: Workers) -> None:
    broker_tail: Callable[[TP], Tail | None] = _broker_of(app).tail
    moved: dict[TP, tuple[int, float]] = {}

    def partitions(hub: str) -> dict[str, dict[str, Any]]:
        view = {}
        for tp, worker in sorted(workers.running.items()):
            if tp.topic != hub:
                continue
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
                stood_s = now - moved[tp][1]
                late.append(f"{tp.topic}: partition {tp.partition} has stood at offset {offset} for {stood_s:.0f} s")
        return late

    @app.page("/penstock/status/")  # type: ignore[untyped-decorator]  # faust has no type stubs
    async def status(view: View, request: Request) -> Response:
        answer = _summed(partitions(config.hub), (*_COUNTED, "open_readings"))
        if config.ratings_hub:
            answer["ratings"] = _summed(partitions(config.ratings_hub), _RATINGS_COUNTED)
        return view.json(answer)

    @app.page("/penstock/health/")  # type: ignore[untyped-decorator]  # faust has no type stubs
    async def health(view: View, request: Request) -> Response:
        problems = stuck()
        if not app.consumer or not app.tables.recovery.completed.is_set():
            problems.append("partitions are not assigned yet")
        return view.json({"healthy": not problems, "problems": problems}, status=503 if problems else 200)


def _summed(partitions: dict[str, dict[str, Any]], counted: tuple[str, ...]) -> dict[str, Any]:
    """Partitions of a hub, and the totals of what is counted in them."""
    totals = {name: sum(each[name] or 0 for each in partitions.values()) for name in (*counted, "lag")}
    return {"partitions": partitions, "totals": totals}
