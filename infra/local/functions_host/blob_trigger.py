"""Blob-triggered functions: find new blobs, queue them inside the host's account, run them from there."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError
from azure.functions.meta import Datum
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue import QueueMessage

from infra.local.functions_host.bindings import IndexedFunction
from infra.local.functions_host.blob_receipts import BlobReceipts, receipt_key
from infra.local.functions_host.conversion import GENERIC, json_datum, text_datum
from infra.local.functions_host.invocation import Invoker, Trigger
from infra.local.functions_host.pacing import pause
from infra.local.functions_host.placeholders import BlobPattern
from infra.local.functions_host.queue_listener import Handler
from infra.local.functions_host.storage import OUTAGE_POLL_S, OutageLog, is_missing, is_outage

log = logging.getLogger("functions_host.blob")

POISON_QUEUE = "webjobs-blobtrigger-poison"


def internal_queue_name(host_id: str) -> str:
    """The queue of the host's account that all its instances drain."""
    return f"azure-webjobs-blobtrigger-{host_id}"


@dataclass(frozen=True)
class BlobSource:
    """A blob function, the blobs it wants, and the account that holds them."""

    function: IndexedFunction
    pattern: BlobPattern
    service: BlobServiceClient


class BlobScanner:
    """Lists a container again and again and queues each blob, by ETag, that the function has not been given.

    Serves `source=EventGrid` too: a laptop has no Event Grid that would send the events.
    """

    def __init__(
        self,
        source: BlobSource,
        receipts: BlobReceipts,
        enqueue: Callable[[str], Awaitable[None]],
        interval_s: float,
    ) -> None:
        self._source = source
        self._receipts = receipts
        self._enqueue = enqueue
        self._interval_s = interval_s
        self._stopping = asyncio.Event()
        self._outage = OutageLog(f"container {source.pattern.container}")
        self._given: set[str] | None = None

    async def run(self) -> None:
        """Scan until `stop()`; a missing container is empty, an unreachable account is tried again."""
        while not self._stopping.is_set():
            wait_s = self._interval_s
            try:
                await self._scan()
            except Exception as error:
                if is_missing(error):
                    self._given = set()
                else:
                    self._outage.failed(error)
                    wait_s = min(wait_s, OUTAGE_POLL_S)
            else:
                self._outage.answered()
            await pause(wait_s, self._stopping)

    def stop(self) -> None:
        """Scan no more."""
        self._stopping.set()

    async def _scan(self) -> None:
        if self._given is None:
            self._given = await self._receipts.all()
        pattern = self._source.pattern
        container = self._source.service.get_container_client(pattern.container)
        present = set()
        async for blob in container.list_blobs(name_starts_with=pattern.prefix or None):
            key = receipt_key(str(blob.etag), pattern.container, str(blob.name))
            if self._stopping.is_set():
                return
            if key not in self._given and pattern.match(str(blob.name)) is not None:
                await self._enqueue(self._message(blob))
                await self._receipts.add(key)
            present.add(key)
        # Only what is there can come again under the same ETag, so the memory is bounded by the container.
        self._given = present

    def _message(self, blob: BlobProperties) -> str:
        content = {
            "Type": "BlobTrigger",
            "FunctionId": self._source.function.id,
            "BlobType": str(getattr(blob.blob_type, "value", blob.blob_type)),
            "ContainerName": self._source.pattern.container,
            "BlobName": blob.name,
            "ETag": str(blob.etag).strip('"'),
        }
        return base64.b64encode(json.dumps(content).encode()).decode("ascii")


def blob_queue_handler(sources: Mapping[str, BlobSource], invoker: Invoker) -> Handler:
    """Runs the functions of the internal queue's messages; a blob that is gone or changed is skipped."""

    async def handle(message: QueueMessage, body: bytes) -> bool:
        try:
            content = json.loads(body)
            source = sources.get(content["FunctionId"])
            name, etag = str(content["BlobName"]), str(content["ETag"])
        except (ValueError, KeyError, TypeError):
            log.error("message %s of the blob queue is not one of this host's", message.id)
            return False
        if source is None:
            log.warning("blob %s was queued for a function that is gone: %s", name, content["FunctionId"])
            return True
        trigger = await _fetch(source, name, etag)
        if trigger is None:
            return True
        return (await invoker.invoke(source.function, trigger)).ok

    return handle


async def by_hand(source: BlobSource, path: str) -> Trigger:
    """What the admin endpoint runs for `container/blob`. Raises ValueError when it is not there."""
    container, _, name = path.strip("/").partition("/")
    trigger = None
    if container == source.pattern.container and source.pattern.match(name) is not None:
        trigger = await _fetch(source, name, None)
    if trigger is None:
        raise ValueError(f"no blob {path!r} that {source.function.name} is triggered by")
    return trigger


async def _fetch(source: BlobSource, name: str, etag: str | None) -> Trigger | None:
    """The trigger for a blob, with its content whole in memory; None when it is gone or has another ETag."""
    outage = OutageLog(f"container {source.pattern.container}")
    while True:
        try:
            trigger = await _download(source, name, etag)
        except (ResourceNotFoundError, ResourceModifiedError):
            return None
        except Exception as error:
            if not is_outage(error):
                raise
            outage.failed(error)
            await asyncio.sleep(OUTAGE_POLL_S)
        else:
            outage.answered()
            return trigger


async def _download(source: BlobSource, name: str, etag: str | None) -> Trigger | None:
    client = source.service.get_blob_client(source.pattern.container, name)
    download = await client.download_blob()
    properties = download.properties
    if etag is not None and str(properties.etag).strip('"') != etag:
        return None
    content = await download.readall()
    values = source.pattern.match(name) or {}
    path = f"{source.pattern.container}/{name}"
    metadata = {
        "BlobTrigger": text_datum(path),
        "Uri": text_datum(client.url),
        "Properties": json_datum(
            {
                "ContentLength": len(content),
                "ContentType": properties.content_settings.content_type,
                "ETag": str(properties.etag),
                "LastModified": properties.last_modified.isoformat() if properties.last_modified else None,
            }
        ),
        "Metadata": json_datum(dict(properties.metadata or {})),
        **{key: text_datum(value) for key, value in values.items()},
    }
    parameter = source.function.trigger
    wants_text = parameter.converter == GENERIC and parameter.python_type is str
    data = text_datum(content.decode("utf-8")) if wants_text else Datum(content, "bytes")
    return Trigger(data, metadata, {**values, "blobTrigger": path})
