"""What the core asks of the outside. Adapters live in infra, in-memory fakes in `tests/fakes.py`;
each pair runs one contract suite (`tests/contracts`).

All methods may raise `errors.TryLater` when the outside does not answer. Methods are synchronous and safe to
call from several threads; the stream worker calls them through `asyncio.to_thread`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """What a store knows of a blob without reading it. `modified` is in epoch seconds."""

    name: str
    size: int
    etag: str
    modified: float
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob's bytes with the info of the version that was read."""

    info: BlobInfo
    data: bytes


class BlobStore(Protocol):
    """Named byte strings with conditional writes. The first path segment of a name is the container."""

    def get(self, name: str) -> Blob:
        """The whole blob. Raises NotFound."""
        ...

    def head(self, name: str) -> BlobInfo | None:
        """Info of the blob, or None if there is none."""
        ...

    def create(self, name: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> BlobInfo:
        """Write a new blob whole. Raises AlreadyExists, and then changed nothing.

        After a lost answer the write may have happened: a second call then raises AlreadyExists.
        """
        ...

    def replace(
        self, name: str, data: bytes, *, etag: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> BlobInfo:
        """Write the blob whole. With `etag`, only over that version, else Superseded is raised."""
        ...

    def download(self, name: str, path: Path) -> BlobInfo:
        """Write the blob to the file `path` piece by piece, whole or not at all; the info of what was read.

        Raises NotFound, and Superseded if the blob was replaced meanwhile.
        """
        ...

    def upload(self, name: str, path: Path, *, metadata: Mapping[str, str] | None = None) -> BlobInfo:
        """Write a new blob whole from the file `path`, piece by piece. Raises AlreadyExists, then changed nothing.

        After a lost answer it may raise AlreadyExists though the blob is the caller's own.
        """
        ...

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Blobs whose name starts with `prefix` (container and more), in name order, with metadata."""
        ...

    def delete(self, name: str) -> None:
        """Remove the blob; nothing happens if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """An address that lets whoever holds it do one thing with one blob until `expires_at`, epoch seconds.

    It is a secret: never logged, never stored.
    """

    url: str
    expires_at: float


class BlobLinks(Protocol):
    """Addresses of single blobs for callers who have no access to the store.

    Both raise ConfigurationError where there is nothing to sign them with.
    """

    def to_upload(self, name: str, valid: timedelta) -> Link:
        """By which the blob can be created and written, and nothing else; its container is made if it is missing."""
        ...

    def to_download(self, name: str, valid: timedelta, *, file_name: str) -> Link:
        """By which the blob can be read, and nothing else; browsers save it as `file_name`."""
        ...


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A received message. `receipt` is opaque and changes with each renewal."""

    id: str
    receipt: str
    body: bytes
    dequeue_count: int


class TaskQueue(Protocol):
    """At-least-once messages, invisible to others while locked."""

    def send(self, body: bytes, *, delay: timedelta = timedelta(0)) -> None:
        """Add a message that never expires; the queue is made if it is missing."""
        ...

    def receive(self, lock: timedelta) -> QueueItem | None:
        """The next message, locked (visibility timeout) for `lock`; None if there is none."""
        ...

    def renew(self, item: QueueItem, lock: timedelta) -> QueueItem:
        """Lock `item` for `lock` from now. Raises Superseded if the lock was lost."""
        ...

    def delete(self, item: QueueItem) -> None:
        """Remove a message that is done; nothing happens if the lock was lost."""
        ...

    def length(self) -> int:
        """Approximate number of messages, locked ones included."""
        ...


class EventSender(Protocol):
    """Appends events to one hub, a durable log in which the events of one key stay in order."""

    def send(self, key: str, body: bytes) -> None:
        """Append an event; it is in the log for good when this returns. Raises BadInput if it is too large for one.

        After TryLater it may be there: whoever sends it again may double it, so consumers tell repeats apart.
        """
        ...


@dataclass(frozen=True, slots=True)
class Document:
    """A stored JSON body; `etag` changes with every write."""

    partition: str
    id: str
    etag: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Put:
    """Write a document. `etag` None: whatever is there; "": only if there is none; else only over that version."""

    id: str
    body: bytes
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a document if it exists. `etag` as in Put, without the "" form."""

    id: str
    etag: str | None = None


# The most writes in one transaction: the limit of a Cosmos DB transactional batch.
MAX_TRANSACTION_WRITES = 100


def check_writes(writes: Sequence[Put | Remove]) -> None:
    """What every store asks of a transaction. Raises ValueError: such a call is a bug."""
    if len(writes) > MAX_TRANSACTION_WRITES:
        raise ValueError(f"at most {MAX_TRANSACTION_WRITES} writes in one transaction, got {len(writes)}")
    if len({write.id for write in writes}) < len(writes):
        raise ValueError("a transaction writes a document once")


Transaction = tuple[str, Sequence[Put | Remove]]
"""A partition, and what is written there together."""


def check_transactions(transactions: Sequence[Transaction]) -> None:
    """What every store asks of many transactions. Raises ValueError: such a call is a bug."""
    for _, writes in transactions:
        check_writes(writes)
    if len({partition for partition, _ in transactions}) < len(transactions):
        raise ValueError("many transactions at once: expected each partition once")


class StateStore(Protocol):
    """JSON documents by (container, partition, id), with transactions inside one partition."""

    def get(self, container: str, partition: str, id: str) -> Document | None:
        """The document, or None."""
        ...

    def query(
        self, container: str, *, partition: str | None = None, id_prefix: str = "", limit: int | None = None
    ) -> list[Document]:
        """Documents in (partition, id) order; over all partitions when `partition` is None."""
        ...

    def transact(self, container: str, partition: str, writes: Sequence[Put | Remove]) -> None:
        """All writes or none. Raises Superseded if an etag does not hold. At most MAX_TRANSACTION_WRITES."""
        ...

    def transact_many(self, container: str, transactions: Sequence[Transaction]) -> list[bool]:
        """Each transaction on its own, as `transact`, but many in less time; whether the etags of each held.

        One that is superseded changes nothing and stops no other. Two of one partition are a bug: ValueError. When an
        error is raised, some may have happened.
        """
        ...
