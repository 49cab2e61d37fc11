"""Input and output bindings on storage: read a blob, write blobs and queue messages."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from azure.core.exceptions import ResourceNotFoundError
from azure.functions.meta import Datum

from infra.local.functions_host.app_settings import AppSettings
from infra.local.functions_host.bindings import Binding, Parameter
from infra.local.functions_host.conversion import GENERIC
from infra.local.functions_host.pacing import Doorbell
from infra.local.functions_host.placeholders import fill
from infra.local.functions_host.storage import StorageAccounts
from infra.local.functions_host.storage_writes import send_creating_queue, upload_creating_container


class DataBindings:
    """Reads and writes what bindings name, creating queues and containers on demand."""

    def __init__(
        self, accounts: StorageAccounts, settings: AppSettings, doorbell: Doorbell, *, queue_base64: bool
    ) -> None:
        self._accounts = accounts
        self._settings = settings
        self._doorbell = doorbell
        self._base64 = queue_base64

    async def read(self, parameter: Parameter, values: Mapping[str, str]) -> Datum | None:
        """The content of an input blob, whole in memory; None when there is no such blob."""
        container, name = self._blob_path(parameter.binding, values)
        service = await self._accounts.blobs(parameter.binding.connection, patient=True)
        try:
            download = await service.get_blob_client(container, name).download_blob()
            content = await download.readall()
        except ResourceNotFoundError:
            return None
        if parameter.converter == GENERIC and parameter.python_type is str:
            return Datum(content.decode("utf-8"), "string")
        return Datum(content, "bytes")

    async def write(self, binding: Binding, datum: Datum, values: Mapping[str, str]) -> None:
        """Write one output; None values are no output.

        A blob is overwritten, so a replay leaves the same content; a queue message is sent again.
        """
        if datum.value is None:
            return
        if binding.type == "queue":
            await self._send(binding, datum, values)
        else:
            await self._upload(binding, datum, values)

    async def _send(self, binding: Binding, datum: Datum, values: Mapping[str, str]) -> None:
        name = fill(self._settings.expand(binding.text("queueName")), values).lower()
        queue = (await self._accounts.queues(binding.connection, patient=True)).get_queue_client(name)
        for body in queue_bodies(datum):
            text = base64.b64encode(body).decode("ascii") if self._base64 else body.decode("utf-8")
            await send_creating_queue(queue, text)
        self._doorbell.ring(name)

    async def _upload(self, binding: Binding, datum: Datum, values: Mapping[str, str]) -> None:
        container, name = self._blob_path(binding, values)
        service = await self._accounts.blobs(binding.connection, patient=True)
        content = datum.value.encode("utf-8") if isinstance(datum.value, str) else datum.value
        await upload_creating_container(service, container, name, content)

    def _blob_path(self, binding: Binding, values: Mapping[str, str]) -> tuple[str, str]:
        path = fill(self._settings.expand(binding.text("path")), values).strip("/")
        container, _, name = path.partition("/")
        if not name:
            raise ValueError(f"{binding.name}: the path {path!r} names no blob (container/blob)")
        return container, name


def queue_bodies(datum: Datum) -> list[bytes]:
    """The messages that one queue output stands for.

    As in the real host, a JSON array - a list that was set, or a text that holds one - becomes one message
    per item. A `QueueMessage` becomes its body.
    """
    if isinstance(datum.value, bytes):
        return [datum.value]
    if datum.type == "json":
        value = json.loads(datum.value)
        return [_item_body(item) for item in (value if isinstance(value, list) else [value])]
    text: str = datum.value
    if text.lstrip().startswith("["):
        try:
            return [_json_item(item) for item in json.loads(text)]
        except ValueError:
            pass  # a text that only looks like an array
    return [text.encode("utf-8")]


def _item_body(item: object) -> bytes:
    if isinstance(item, dict) and "body" in item:
        return str(item["body"]).encode("utf-8")
    return _json_item(item)


def _json_item(item: object) -> bytes:
    return (item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)).encode("utf-8")
