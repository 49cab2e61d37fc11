"""Records in the state store that processes change together: one document each, by compare-and-set."""

import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

import msgspec

from models.errors import Damaged, NotFound, Superseded
from models.ports import Document, Put, Remove, StateStore

log = logging.getLogger(__name__)

Record = TypeVar("Record", bound=msgspec.Struct)

_COMPLEMENT: Final = str.maketrans("0123456789", "9876543210")
_STAMP: Final = "%Y%m%dT%H%M%SZ"


def stamped_id(at: float, *what: str, digits: int = 8) -> str:
    """The same id for the same second (epoch seconds) and texts; id order is time order."""
    digest = hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:digits]
    return f"{datetime.fromtimestamp(at, UTC).strftime(_STAMP)}-{digest}"


class Records(Generic[Record]):
    """The records of one kind, whose ids are those of `stamped_id`. Holds no state of its own.

    `what` names one in messages ("run"), `hint` says how to list them; a record that has `ended` changes only if that
    is asked for.
    Records that have not ended can be listed without the others if they are `marked`: each has a marker beside it.
    `partition`: in which they lie; that of the container's name by default.
    One that cannot be read raises Damaged where it is asked for, and is logged and left out where many are.
    """

    def __init__(
        self,
        state: StateStore,
        container: str,
        form: type[Record],
        *,
        ended: Callable[[Record], bool],
        what: str,
        hint: str,
        marked: bool = False,
        partition: str = "",
    ) -> None:
        self._state = state
        self._partition = partition or container
        self._container = container
        self._decoder = msgspec.json.Decoder(form)
        self._ended = ended
        self._what = what
        self._hint = hint
        self._marked = marked

    def create(self, id: str, record: Record) -> bool:
        """Store a new record; False, and nothing changed, if there is one already."""
        writes: list[Put | Remove] = [Put(_document_id(id), msgspec.json.encode(record), etag="")]
        if self._marked and not self._ended(record):
            writes.append(Put(_marker(id), b"{}"))
        try:
            self._state.transact(self._container, self._partition, writes)
        except Superseded:
            return False
        return True

    def get(self, id: str) -> Record:
        """The record. Raises NotFound, Damaged."""
        return self._record(self._document(id))

    def exists(self, id: str) -> bool:
        """Whether there is such a record; it is not read."""
        return self._found(id) is not None

    def latest(self, limit: int | None = None) -> list[Record]:
        """Records, the latest first."""
        # Markers come behind all records, since stamps begin with a digit.
        documents = self._state.query(self._container, partition=self._partition, limit=limit)
        return self._readable([document for document in documents if not _is_marker(document.id)])

    def remove(self, id: str) -> None:
        """Forget the record; nothing happens if there is none."""
        removals = [Remove(_document_id(id)), *([Remove(_marker(id))] if self._marked else [])]
        self._state.transact(self._container, self._partition, removals)

    def unfinished(self, limit: int | None = None) -> list[str]:
        """Ids of the records that have not ended, the oldest first."""
        found = self._state.query(self._container, partition=self._partition, id_prefix=_MARK, limit=limit)
        return [document.id.removeprefix(_MARK) for document in found]

    def read_unfinished(self) -> list[Record]:
        """The records that have not ended, the oldest first. Costs one query, and a look at each of them."""
        found = filter(None, map(self._found, self.unfinished()))  # without those that were removed meanwhile
        return [record for record in self._readable(list(found)) if not self._ended(record)]

    def change(self, id: str, change: Callable[[Record], Record], *, even_ended: bool = False) -> Record:
        """The record after `change`, which is called again if another process changed it meanwhile.

        One that has ended stays as it is, unless `even_ended`. Raises NotFound, Damaged.
        """
        while True:
            document = self._document(id)
            record = self._record(document)
            if self._ended(record) and not even_ended:
                return record
            changed = change(record)
            if changed == record:
                return record
            writes: list[Put | Remove] = [Put(document.id, msgspec.json.encode(changed), etag=document.etag)]
            if self._marked and self._ended(changed):
                writes.append(Remove(_marker(id)))
            try:
                self._state.transact(self._container, self._partition, writes)
            except Superseded:
                continue
            return changed

    def _document(self, id: str) -> Document:
        document = self._found(id)
        if document is None:
            raise NotFound(f"there is no {self._what} {id!r} ({self._hint})")
        return document

    def _found(self, id: str) -> Document | None:
        """Its document; None too for an id, which may be anybody's text, that would name a marker."""
        name = _document_id(id)
        if not id or _is_marker(name):
            return None
        return self._state.get(self._container, self._partition, name)

    def _record(self, document: Document) -> Record:
        try:
            return self._decoder.decode(document.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Damaged(
                f"the record of {self._what} {_document_id(document.id)!r} cannot be read ({error}); if no newer "
                f"Penstock wrote it, remove document {document.id!r} from {self._container}/{self._partition} "
                "in the state store"
            ) from error

    def _readable(self, documents: list[Document]) -> list[Record]:
        records = []
        for document in documents:
            try:
                records.append(self._record(document))
            except Damaged as error:
                log.error("left out: %s", error)
        return records


_MARK: Final = "unfinished:"


def _marker(id: str) -> str:
    return f"{_MARK}{id}"


def _is_marker(id: str) -> bool:
    return id.startswith(_MARK)


def _document_id(id: str) -> str:
    """The latest record comes first in id order, since a query can be cut short at its end only. Its own inverse."""
    stamp, dash, rest = id.partition("-")
    return stamp.translate(_COMPLEMENT) + dash + rest
