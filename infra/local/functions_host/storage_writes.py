"""Writes that make the queue or container they need, because nothing else does on a fresh account."""

from __future__ import annotations

import contextlib

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueClient


async def send_creating_queue(queue: QueueClient, text: str, time_to_live_s: int | None = None) -> None:
    """Send a message, creating its queue first where it is missing.

    Without a time to live the account's default holds (7 days); -1 never expires.
    """
    try:
        await queue.send_message(text, time_to_live=time_to_live_s)
    except ResourceNotFoundError:
        with contextlib.suppress(ResourceExistsError):  # another sender was first
            await queue.create_queue()
        await queue.send_message(text, time_to_live=time_to_live_s)


async def upload_creating_container(service: BlobServiceClient, container: str, name: str, content: bytes) -> None:
    """Write a blob over what was there, creating its container first where it is missing."""
    blob = service.get_blob_client(container, name)
    try:
        await blob.upload_blob(content, overwrite=True)
    except ResourceNotFoundError:
        with contextlib.suppress(ResourceExistsError):  # another writer was first
            await service.create_container(container)
        await blob.upload_blob(content, overwrite=True)
