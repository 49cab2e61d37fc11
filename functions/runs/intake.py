"""Training runs: opened for a ratings file that was uploaded, and asked of the worker.

No rating is read here: the worker validates, since its machine has the memory and the libraries for it.
"""

import logging
from collections.abc import Sequence

import msgspec

from models.contracts.runs import Run, RunKind, RunRequest, Stage
from models.errors import BadInput
from models.ports import BlobInfo, BlobStore, TaskQueue
from models.runs import Runs, run_id

log = logging.getLogger(__name__)


class Intake:
    """Opens training runs and asks the worker for them. Safe to share between threads."""

    def __init__(self, blobs: BlobStore, runs: Runs, queue: TaskQueue, *, model: str) -> None:
        self._blobs = blobs
        self._runs = runs
        self._queue = queue
        self._model = model

    def receive(self, name: str) -> None:
        """Start the run of the ratings file in blob `name`, unless it was started before.

        Events come at least once, and this upload's id depends on the blob's version alone: the second time nothing
        happens. After a crash before sending, the sweep sends. A blob that is gone again is left alone.
        """
        info = find_upload(self._blobs, name)
        if info is not None:
            self.start(info)

    def start(self, info: BlobInfo) -> None:
        """As `receive`, of a blob whose info is known."""
        id = upload_run(info)
        if self._runs.open(RunKind.TRAIN, id, model=self._model, source=info.name, etag=info.etag):
            self.ask(id)
            log.info("upload %s: run %s", info.name, id)

    def retry(self, ids: Sequence[str], now_s: float, *, anyway: bool = False) -> str:
        """The new run that trains on the uploads of these runs again, together; that is how parts go in which are too
        small alone. `anyway`: it goes live even if it is worse than the live version.

        Asked twice within a second, one run is started. Raises NotFound, and BadInput for a run that brought no
        upload, goes on, or whose upload is trained on anyway.
        """
        brought = list(dict.fromkeys(each for id in ids for each in self._brought(self._runs.get(id))))
        id = run_id(now_s, "anyway" if anyway else "again", *brought)
        detail = f"{'anyway' if anyway else 'again'}: {', '.join(brought)}"
        if self._runs.open(RunKind.TRAIN, id, model=self._model, detail=detail, retries=brought, anyway=anyway):
            self.ask(id)
        return id

    @staticmethod
    def _brought(run: Run) -> list[str]:
        """The runs to which the uploads of `run` came."""
        if run.kind != RunKind.TRAIN or not (run.source or run.retries):
            raise BadInput(f"run {run.id}: expected one that trained on an upload")
        if run.stage not in (Stage.REFUSED, Stage.FAILED, Stage.WITHDRAWN):
            what = "is trained on anyway" if run.stage.is_end else "is in work"
            raise BadInput(f"run {run.id} is {run.stage}: its upload {what}")
        return run.retries or [run.id]

    def ask(self, id: str) -> None:
        """Tell the worker of run `id`; a second time is harmless."""
        self._queue.send(msgspec.json.encode(RunRequest(run=id)))

    def idle(self) -> bool:
        """Whether no request waits or is in work."""
        return self._queue.length() == 0


def find_upload(blobs: BlobStore, name: str) -> BlobInfo | None:
    """Info of an uploaded blob; None, and a line in the log, if it is gone again."""
    info = blobs.head(name)
    if info is None:
        log.warning("upload %s is gone", name)
    return info


def upload_run(info: BlobInfo) -> str:
    """The run of this version of an uploaded blob."""
    return run_id(info.modified, info.name, info.etag)
