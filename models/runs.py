"""Run records in the state store: container `runs`, one document per run, changed by compare-and-set.

Beside each run that has not ended lies a mark, which comes and goes in the same transactions: so those are found
however many there are.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from models.contracts.runs import Run, RunKind, RunStage, Stage
from models.errors import BadInput, NotFound, Superseded
from models.ports import Clock, Document, Put, Remove, StateStore

CONTAINER: Final = "runs"
_PARTITION: Final = "runs"
_COMPLEMENT: Final = str.maketrans("0123456789", "9876543210")
_STAMP: Final = "%Y%m%dT%H%M%SZ"
# Ids of runs begin with a digit, so marks come after all of them.
_UNFINISHED: Final = "unfinished:"


def run_id(at: float, *what: str) -> str:
    """The same id for the same second (epoch seconds) and texts; id order is time order."""
    digest = hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:8]
    return f"{datetime.fromtimestamp(at, UTC).strftime(_STAMP)}-{digest}"


class Runs:
    """Opens, reads and advances runs. Holds no state of its own: safe to share between threads."""

    def __init__(self, state: StateStore, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def open(
        self,
        kind: RunKind,
        id: str,
        *,
        model: str,
        source: str = "",
        etag: str = "",
        detail: str = "",
        retries: Sequence[str] = (),
        anyway: bool = False,
    ) -> bool:
        """Record a run as received; False, and nothing changed, if it is known already."""
        now = self._clock.now()
        run = Run(
            id=id,
            kind=kind,
            model=model,
            source=source,
            etag=etag,
            retries=list(retries),
            anyway=anyway,
            stages=[RunStage(Stage.RECEIVED, now, detail)],
            asked_at=now,
        )
        mark = Put(_mark(id), msgspec.json.encode({"run": id}), etag="")
        try:
            self._state.transact(
                CONTAINER, _PARTITION, [Put(_document_id(id), msgspec.json.encode(run), etag=""), mark]
            )
        except Superseded:
            return False
        return True

    def get(self, id: str) -> Run:
        """The run. Raises NotFound."""
        return _decoder.decode(self._document(id).body)

    def latest(self, limit: int | None = None) -> list[Run]:
        """Runs, the latest first."""
        documents = self._state.query(CONTAINER, partition=_PARTITION, limit=limit)
        return [_decoder.decode(each.body) for each in documents if not each.id.startswith(_UNFINISHED)]

    def unfinished(self) -> list[Run]:
        """All runs that have not ended, the latest first. Costs one query, and a look at each of them."""
        marks = self._state.query(CONTAINER, partition=_PARTITION, id_prefix=_UNFINISHED)
        runs = [self.get(msgspec.json.decode(mark.body)["run"]) for mark in marks]
        return [run for run in runs if not run.stage.is_end]

    def advance(self, id: str, stage: Stage, detail: str = "", **facts: Any) -> Run:
        """The run with `stage` added and the fields `facts` set. A run that has ended stays as it is."""
        reached = RunStage(stage, self._clock.now(), detail)
        return self.change(id, lambda run: msgspec.structs.replace(run, stages=[*run.stages, reached], **facts))

    def change(self, id: str, change: Callable[[Run], Run]) -> Run:
        """The run after `change`, which is called again if another process changed it meanwhile.

        A run that has ended stays as it is. Raises NotFound.
        """
        while True:
            document = self._document(id)
            run = _decoder.decode(document.body)
            if run.stage.is_end:
                return run
            changed = change(run)
            if changed == run:
                return run
            if self._replace(document, changed):
                return changed

    def withdraw(self, id: str, detail: str) -> Run:
        """The run, which was promoted, as withdrawn. Safe to repeat. Raises NotFound, BadInput for any other run."""
        while True:
            document = self._document(id)
            run = _decoder.decode(document.body)
            if run.stage == Stage.WITHDRAWN:
                return run
            if run.stage != Stage.PROMOTED:
                raise BadInput(f"run {id}: expected one that was promoted, got one that is {run.stage}")
            withdrawn = RunStage(Stage.WITHDRAWN, self._clock.now(), detail)
            changed = msgspec.structs.replace(run, stages=[*run.stages, withdrawn])
            if self._replace(document, changed):
                return changed

    def _replace(self, document: Document, run: Run) -> bool:
        """Whether the run was written; not if another process changed it meanwhile."""
        writes: list[Put | Remove] = [Put(document.id, msgspec.json.encode(run), etag=document.etag)]
        if run.stage.is_end:
            writes.append(Remove(_mark(run.id)))
        try:
            self._state.transact(CONTAINER, _PARTITION, writes)
        except Superseded:
            return False
        return True

    def _document(self, id: str) -> Document:
        document = self._state.get(CONTAINER, _PARTITION, _document_id(id))
        if document is None:
            raise NotFound(f"there is no run {id!r} (penstock runs list)")
        return document


def _document_id(id: str) -> str:
    """The latest run comes first in id order, since a query can be cut short at its end only."""
    stamp, dash, rest = id.partition("-")
    return stamp.translate(_COMPLEMENT) + dash + rest


def _mark(id: str) -> str:
    return f"{_UNFINISHED}{_document_id(id)}"


_decoder: Final = msgspec.json.Decoder(Run)
