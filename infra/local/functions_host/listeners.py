"""Build the listeners of an app: what its triggers and settings ask for, checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from infra.local.functions_host.app_settings import DEFAULT_CONNECTION, AppSettings
from infra.local.functions_host.bindings import IndexedFunction
from infra.local.functions_host.blob_receipts import BlobReceipts
from infra.local.functions_host.blob_trigger import (
    POISON_QUEUE,
    BlobScanner,
    BlobSource,
    blob_queue_handler,
    internal_queue_name,
)
from infra.local.functions_host.errors import ConfigurationError
from infra.local.functions_host.host_json import HostJson, QueueOptions
from infra.local.functions_host.invocation import Invoker
from infra.local.functions_host.pacing import Doorbell
from infra.local.functions_host.placeholders import BlobPattern
from infra.local.functions_host.queue_listener import Handler, ListenerOptions, QueueListener
from infra.local.functions_host.queue_message import poison_queue_name
from infra.local.functions_host.queue_trigger import queue_handler
from infra.local.functions_host.schedule import is_monitored, parse_schedule, time_zone
from infra.local.functions_host.storage import StorageAccounts
from infra.local.functions_host.storage_writes import send_creating_queue
from infra.local.functions_host.timer_listener import TimerListener, TimerPlan
from infra.local.functions_host.timer_status import TimerStatusBlob

_MAX_RECEIVE = 32


class Listener(Protocol):
    """Something that starts invocations until it is told to stop."""

    async def run(self) -> None:
        """Listen until `stop()`."""
        ...

    def stop(self) -> None:
        """Start no more invocations."""
        ...


@dataclass(frozen=True)
class Durations:
    """Seconds: the lock of a queue message, and the pause between two scans of a container."""

    queue_lock_s: float = 600.0
    blob_scan_s: float = 10.0


@dataclass
class Listeners:
    """All listeners of a host; the queue listeners and blob sources are also listed by themselves."""

    all: list[Listener] = field(default_factory=list)
    queues: list[QueueListener] = field(default_factory=list)
    timers: list[TimerListener] = field(default_factory=list)
    blobs: dict[str, BlobSource] = field(default_factory=dict)


@dataclass(frozen=True)
class Wiring:
    """What listeners are made from."""

    accounts: StorageAccounts
    settings: AppSettings
    host_json: HostJson
    host_id: str
    durations: Durations
    doorbell: Doorbell
    invoker: Invoker


async def build_listeners(functions: Iterable[IndexedFunction], wiring: Wiring) -> Listeners:
    """The listeners of every trigger but HTTP; makes no request.

    Raises ConfigurationError, naming every function whose connection, schedule or path is wrong.
    """
    listeners = Listeners()
    problems: list[str] = []
    for function in functions:
        try:
            await _add(function, wiring, listeners)
        except (ConfigurationError, ValueError) as error:
            problems.append(f"{function.name}: {error}")
    if problems:
        raise ConfigurationError("the app cannot run:" + "".join(f"\n  - {problem}" for problem in problems))
    if listeners.blobs:
        await _add_blob_queue(wiring, listeners)
    listeners.all += [*listeners.queues, *listeners.timers]
    return listeners


async def _add(function: IndexedFunction, wiring: Wiring, listeners: Listeners) -> None:
    match function.trigger.binding.type:
        case "queueTrigger":
            listeners.queues.append(await _queue_listener(function, wiring))
        case "timerTrigger":
            listeners.timers.append(await _timer_listener(function, wiring))
        case "blobTrigger":
            await _add_blob_scanner(function, wiring, listeners)


async def _queue_listener(function: IndexedFunction, wiring: Wiring) -> QueueListener:
    binding = function.trigger.binding
    name = wiring.settings.expand(binding.text("queueName")).lower()
    handler = queue_handler(function, wiring.invoker)
    return await _listen(wiring, binding.connection, name, handler, wiring.host_json.queues)


async def _listen(
    wiring: Wiring, connection: str, name: str, handler: Handler, options: QueueOptions
) -> QueueListener:
    service = await wiring.accounts.queues(connection)
    poison = poison_queue_name(name)
    return QueueListener(
        service.get_queue_client(name),
        service.get_queue_client(poison) if poison else None,
        handler,
        ListenerOptions(options, wiring.durations.queue_lock_s),
        wiring.doorbell.of(name),
    )


async def _timer_listener(function: IndexedFunction, wiring: Wiring) -> TimerListener:
    properties = function.trigger.binding.properties
    zone = time_zone(wiring.settings.get("WEBSITE_TIME_ZONE") or wiring.settings.get("TZ"))
    schedule = parse_schedule(wiring.settings.expand(str(properties["schedule"])), zone)
    wanted = properties.get("useMonitor")
    plan = TimerPlan(
        function=function,
        schedule=schedule,
        monitored=is_monitored(schedule, wanted is None or bool(wanted), datetime.now(UTC)),
        run_on_startup=bool(properties.get("runOnStartup")),
    )
    service = await wiring.accounts.blobs(DEFAULT_CONNECTION)
    return TimerListener(plan, TimerStatusBlob(service, wiring.host_id, function.id), wiring.invoker)


async def _add_blob_scanner(function: IndexedFunction, wiring: Wiring, listeners: Listeners) -> None:
    binding = function.trigger.binding
    source = BlobSource(
        function,
        BlobPattern(wiring.settings.expand(binding.text("path"))),
        await wiring.accounts.blobs(binding.connection),
    )
    queue_name = internal_queue_name(wiring.host_id)
    queue = (await wiring.accounts.queues(DEFAULT_CONNECTION)).get_queue_client(queue_name)

    async def enqueue(text: str) -> None:
        await send_creating_queue(queue, text)
        wiring.doorbell.ring(queue_name)

    receipts = BlobReceipts(await wiring.accounts.blobs(DEFAULT_CONNECTION), wiring.host_id, function.id)
    listeners.blobs[function.id] = source
    listeners.all.append(BlobScanner(source, receipts, enqueue, wiring.durations.blob_scan_s))


async def _add_blob_queue(wiring: Wiring, listeners: Listeners) -> None:
    parallel = wiring.host_json.max_blob_parallelism
    batch = max(1, min(_MAX_RECEIVE, parallel // 2))
    # The internal queue is always base64; batch and threshold together are the wanted parallelism.
    options = replace(
        wiring.host_json.queues, base64=True, batch_size=batch, new_batch_threshold=max(0, parallel - batch)
    )
    name = internal_queue_name(wiring.host_id)
    service = await wiring.accounts.queues(DEFAULT_CONNECTION)
    listeners.queues.append(
        QueueListener(
            service.get_queue_client(name),
            service.get_queue_client(POISON_QUEUE),
            blob_queue_handler(listeners.blobs, wiring.invoker),
            ListenerOptions(options, wiring.durations.queue_lock_s),
            wiring.doorbell.of(name),
        )
    )
