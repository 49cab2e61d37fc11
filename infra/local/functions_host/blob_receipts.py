"""Which blobs a function has been given already: one empty blob per function, blob and ETag."""

from __future__ import annotations

from urllib.parse import quote

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient

from infra.local.functions_host.storage_writes import upload_creating_container
from infra.local.functions_host.timer_status import HOSTS_CONTAINER


class BlobReceipts:
    """The receipts of one function in the host's storage account.

    They are kept by host id and function name: after a change of either every blob runs again, as in Azure.
    """

    def __init__(self, service: BlobServiceClient, host_id: str, function_id: str) -> None:
        self._service = service
        self._container = service.get_container_client(HOSTS_CONTAINER)
        self._prefix = f"blobreceipts/{host_id}/{function_id}/"

    async def all(self) -> set[str]:
        """The keys of every receipt, in one listing."""
        try:
            return {
                name.removeprefix(self._prefix)
                async for name in self._container.list_blob_names(name_starts_with=self._prefix)
            }
        except ResourceNotFoundError:
            return set()

    async def add(self, key: str) -> None:
        """Note that a blob has been queued. Write it after queueing: dying between the two queues it twice,
        the other order would lose it.
        """
        await upload_creating_container(self._service, HOSTS_CONTAINER, self._prefix + key, b"")


def receipt_key(etag: str, container: str, blob: str) -> str:
    """What a receipt is named by; new content has a new ETag and so a new receipt."""
    return f"{quote(etag.strip(chr(34)), safe='')}/{container}/{blob}"
