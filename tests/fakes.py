"""In-memory ports for unit tests; they pass the same contract suites as the real adapters."""

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from models.errors import AlreadyExists, BadInput, NotFound, Superseded
from models.ports import (
    Blob,
    BlobInfo,
    Document,
    Link,
    Put,
    QueueItem,
    Remove,
    Transaction,
    check_transactions,
    check_writes,
)


@dataclass
class FakeClock:
    """A clock that moves when told."""

    time: float = 1_700_000_000.0

    def now(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class FakeBlobs:
    """BlobStore in a dict."""

    clock: FakeClock = field(default_factory=FakeClock)
    blobs: dict[str, Blob] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._etags = itertools.count(1)
        self._lock = threading.RLock()

    def get(self, name: str) -> Blob:
        with self._lock:
            if name not in self.blobs:
                raise NotFound(f"blob {name}")
            return self.blobs[name]

    def head(self, name: str) -> BlobInfo | None:
        with self._lock:
            return self.blobs[name].info if name in self.blobs else None

    def create(self, name: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> BlobInfo:
        with self._lock:
            if name in self.blobs:
                raise AlreadyExists(f"blob {name}")
            return self._write(name, data, metadata)

    def replace(
        self, name: str, data: bytes, *, etag: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> BlobInfo:
        with self._lock:
            if etag is not None and (name not in self.blobs or self.blobs[name].info.etag != etag):
                raise Superseded(f"blob {name}")
            return self._write(name, data, metadata)

    def download(self, name: str, path: Path) -> BlobInfo:
        blob = self.get(name)
        path.write_bytes(blob.data)
        return blob.info

    def upload(self, name: str, path: Path, *, metadata: Mapping[str, str] | None = None) -> BlobInfo:
        return self.create(name, path.read_bytes(), metadata=metadata)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        with self._lock:
            return iter([self.blobs[name].info for name in sorted(self.blobs) if name.startswith(prefix)])

    def delete(self, name: str) -> None:
        with self._lock:
            self.blobs.pop(name, None)

    def _write(self, name: str, data: bytes, metadata: Mapping[str, str] | None) -> BlobInfo:
        container, _, path = name.partition("/")
        if not (container and path):
            raise BadInput(f"blob name: expected '<container>/<path>', got {name!r}")
        info = BlobInfo(name, len(data), str(next(self._etags)), self.clock.now(), dict(metadata or {}))
        self.blobs[name] = Blob(info, bytes(data))
        return info


@dataclass
class FakeLinks:
    """BlobLinks that open nothing."""

    clock: FakeClock = field(default_factory=FakeClock)

    def to_upload(self, name: str, valid: timedelta) -> Link:
        return Link(f"https://links.invalid/{name}?sp=cw", self.clock.now() + valid.total_seconds())

    def to_download(self, name: str, valid: timedelta, *, file_name: str) -> Link:
        return Link(f"https://links.invalid/{name}?sp=r&as={file_name}", self.clock.now() + valid.total_seconds())


@dataclass
class FakeQueue:
    """TaskQueue in a list, locked by the fake clock."""

    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._lock = threading.RLock()
        self._items: dict[str, tuple[float, QueueItem]] = {}

    @property
    def bodies(self) -> list[bytes]:
        with self._lock:
            return [item.body for _, item in self._items.values()]

    def send(self, body: bytes, *, delay: timedelta = timedelta(0)) -> None:
        with self._lock:
            id = str(next(self._ids))
            visible = self.clock.now() + delay.total_seconds()
            self._items[id] = (visible, QueueItem(id, "", body, 0))

    def receive(self, lock: timedelta) -> QueueItem | None:
        with self._lock:
            for id, (visible, item) in self._items.items():
                if visible <= self.clock.now():
                    taken = QueueItem(id, str(next(self._ids)), item.body, item.dequeue_count + 1)
                    self._items[id] = (self.clock.now() + lock.total_seconds(), taken)
                    return taken
            return None

    def renew(self, item: QueueItem, lock: timedelta) -> QueueItem:
        with self._lock:
            if item.id not in self._items or self._items[item.id][1].receipt != item.receipt:
                raise Superseded(f"message {item.id}")
            renewed = QueueItem(item.id, str(next(self._ids)), item.body, item.dequeue_count)
            self._items[item.id] = (self.clock.now() + lock.total_seconds(), renewed)
            return renewed

    def delete(self, item: QueueItem) -> None:
        with self._lock:
            if item.id in self._items and self._items[item.id][1].receipt == item.receipt:
                del self._items[item.id]

    def length(self) -> int:
        with self._lock:
            return len(self._items)


@dataclass
class FakeSender:
    """EventSender to a list, in the order of arrival."""

    events: list[tuple[str, bytes]] = field(default_factory=list)
    max_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def send(self, key: str, body: bytes) -> None:
        if len(body) > self.max_bytes:
            raise BadInput(f"event: expected at most {self.max_bytes} bytes, got {len(body)}")
        with self._lock:
            self.events.append((key, bytes(body)))


@dataclass
class FakeState:
    """StateStore in a dict."""

    documents: dict[tuple[str, str, str], Document] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._etags = itertools.count(1)
        self._lock = threading.RLock()

    def get(self, container: str, partition: str, id: str) -> Document | None:
        with self._lock:
            return self.documents.get((container, partition, id))

    def query(
        self, container: str, *, partition: str | None = None, id_prefix: str = "", limit: int | None = None
    ) -> list[Document]:
        with self._lock:
            found = [
                document
                for (kind, pk, id), document in sorted(self.documents.items())
                if kind == container and partition in (None, pk) and id.startswith(id_prefix)
            ]
            return found[:limit]

    def transact(self, container: str, partition: str, writes: Sequence[Put | Remove]) -> None:
        check_writes(writes)
        with self._lock:
            for write in writes:
                present = self.documents.get((container, partition, write.id))
                if write.etag is not None and write.etag != (present.etag if present else ""):
                    raise Superseded(f"{container}/{partition}/{write.id}")
            for write in writes:
                key = (container, partition, write.id)
                if isinstance(write, Put):
                    self.documents[key] = Document(partition, write.id, str(next(self._etags)), write.body)
                else:
                    self.documents.pop(key, None)

    def transact_many(self, container: str, transactions: Sequence[Transaction]) -> list[bool]:
        check_transactions(transactions)
        return [self._held(container, partition, writes) for partition, writes in transactions]

    def _held(self, container: str, partition: str, writes: Sequence[Put | Remove]) -> bool:
        try:
            self.transact(container, partition, writes)
        except Superseded:
            return False
        return True
