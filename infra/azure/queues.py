"""TaskQueue on a storage queue, in the encoding that the Functions host expects: Base64 both ways."""

import base64
import binascii
import math
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient

from infra.azure.account import client_options, full_connection_string, opening
from infra.azure.errors import storage_code, translated, unless_there
from models.errors import NotFound, Superseded
from models.ports import QueueItem

T = TypeVar("T")


class AzureQueue:
    """One storage queue; one request per call, without retries. Safe to share between threads.

    When the answer to `send` is lost, TryLater is raised and the message may be there: send it again, consumers bear
    duplicates. Bodies hold up to 48 KiB; more is BadInput.
    """

    def __init__(self, connection_string: str, name: str) -> None:
        self._name = name
        connection = full_connection_string(connection_string)
        with opening(f"queue {name}"):
            self._queue = QueueClient.from_connection_string(connection, name, **client_options(connection))

    def send(self, body: bytes, *, delay: timedelta = timedelta(0)) -> None:
        """Add a message that never expires; the queue is made if it is missing."""
        text = base64.b64encode(body).decode()
        self._with_queue(lambda: self._queue.send_message(text, visibility_timeout=_seconds(delay), time_to_live=-1))

    def receive(self, lock: timedelta) -> QueueItem | None:
        """The next message, locked for `lock` (rounded up to whole seconds); None if there is none.

        A body that is not Base64, so not of our making, comes as it stands in the queue.
        """
        try:
            with translated(f"queue {self._name}"):
                message = self._queue.receive_message(visibility_timeout=max(1, _seconds(lock)))
        except NotFound:
            return None
        if message is None:
            return None
        return QueueItem(
            message.id, str(message.pop_receipt), _decoded(message.content), int(message.dequeue_count or 0)
        )

    def renew(self, item: QueueItem, lock: timedelta) -> QueueItem:
        """Lock `item` for `lock` from now. Raises Superseded if the lock was lost."""
        try:
            with translated(f"message {item.id}"):
                renewed = self._queue.update_message(item.id, item.receipt, visibility_timeout=max(1, _seconds(lock)))
        except NotFound as gone:
            raise Superseded(f"message {item.id} is gone: another consumer ended it") from gone
        return QueueItem(item.id, str(renewed.pop_receipt), item.body, item.dequeue_count)

    def delete(self, item: QueueItem) -> None:
        """Remove a message that is done; nothing happens if the lock was lost."""
        try:
            with translated(f"message {item.id}"):
                self._queue.delete_message(item.id, item.receipt)
        except (NotFound, Superseded):
            return

    def length(self) -> int:
        """Approximate number of messages, locked ones included."""
        try:
            with translated(f"queue {self._name}"):
                return int(self._queue.get_queue_properties().approximate_message_count or 0)
        except NotFound:
            return 0

    def peek(self, limit: int = 32) -> list[QueueItem]:
        """Up to 32 messages without locking them; none can be renewed or deleted by what comes back."""
        try:
            with translated(f"queue {self._name}"):
                return [
                    QueueItem(message.id, "", _decoded(message.content), int(message.dequeue_count or 0))
                    for message in self._queue.peek_messages(max_messages=limit)
                ]
        except NotFound:
            return []

    def close(self) -> None:
        """Close the connections."""
        self._queue.close()

    def _with_queue(self, send: Callable[[], T]) -> T:
        """The answer of `send`, tried once more after making the queue it misses."""
        with translated(f"queue {self._name}"):
            try:
                return send()
            except ResourceNotFoundError as error:
                if storage_code(error) != "QueueNotFound":
                    raise
            self._make_queue()
            return send()

    def _make_queue(self) -> None:
        with unless_there(self._name):
            self._queue.create_queue()


def _seconds(span: timedelta) -> int:
    return math.ceil(span.total_seconds())


def _decoded(content: object) -> bytes:
    text = str(content)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode()
