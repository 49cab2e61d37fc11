"""Recommendations for a list of users: cut into shards, scored from a queue, joined when all are there.

recommend-in/<name>                              what was uploaded
recommend-work/<run>/in/<shard>.json             users of a shard, create-only
recommend-work/<run>/out/<shard>.jsonl           their recommendations, create-only
recommend-out/<name>-<run>.jsonl                 all of them, in the order of the list, create-only
recommend-out/<name>-<run>.error.json            or why there are none

Every step may be done twice, by two processes at once, and after a crash at any point: what is there already stands.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import msgspec

from functions.runs.intake import find_upload, upload_run
from functions.runs.userlists import Entry, parse_users
from models.contracts.runs import Run, RunKind, ShardRequest, Stage
from models.errors import AlreadyExists, BadInput, ConfigurationError, Damaged, NotFound, TryLater
from models.names import (
    recommendations_blob,
    recommendations_error_blob,
    shard_blob,
    shard_result_blob,
    shard_result_prefix,
    shards_prefix,
)
from models.ports import BlobInfo, BlobStore, Clock, TaskQueue
from models.runs import Runs

log = logging.getLogger(__name__)

SHARD_USERS: Final = 250


class Recommender(Protocol):
    """Answers for one user, as `GET /api/users/{id}/recommendations` would."""

    def recommend(self, user: str, k: int) -> msgspec.Struct:
        """The body of the answer. Raises BadInput for what never can be, Damaged if what is stored of the user
        cannot be read, TryLater while no model is known.
        """
        ...


class Batches:
    """Runs lists of users. Safe to share between threads."""

    def __init__(
        self,
        blobs: BlobStore,
        runs: Runs,
        queue: TaskQueue,
        recommender: Recommender,
        clock: Clock,
        *,
        model: str,
        shard_users: int = SHARD_USERS,
    ) -> None:
        self._blobs = blobs
        self._runs = runs
        self._queue = queue
        self._recommender = recommender
        self._clock = clock
        self._model = model
        self._shard_users = shard_users

    def receive(self, name: str) -> None:
        """Open the run of the list in blob `name` and cut it. A list known already, or gone again, is left alone."""
        info = find_upload(self._blobs, name)
        if info is not None:
            self.start(info)

    def start(self, info: BlobInfo) -> None:
        """As `receive`, of a blob whose info is known."""
        id = upload_run(info)
        self._runs.open(RunKind.SCORE, id, model=self._model, source=info.name, etag=info.etag)
        run = self._runs.get(id)
        if run.stage == Stage.RECEIVED:
            self.cut(run)

    def cut(self, run: Run) -> None:
        """Store the shards of a received run and queue them all. A list that is none ends the run; one for which no
        recommender is there waits.
        """
        try:
            blob = self._blobs.get(run.source)
            if blob.info.etag != run.etag:
                raise BadInput("was replaced by a newer upload, which has a run of its own")
            entries = parse_users(run.source, blob.data)
        except (BadInput, NotFound) as error:
            self._refuse(run, str(error))
            return
        if not self._answers(entries):
            log.warning("run %s waits: no recommender is live", run.id)
            return
        shards = [entries[at : at + self._shard_users] for at in range(0, len(entries), self._shard_users)]
        for number, shard in enumerate(shards):
            self._create(shard_blob(run.id, number), msgspec.json.encode(shard))
        self._runs.change(
            run.id, lambda now: msgspec.structs.replace(now, shards=len(shards), asked_at=self._clock.now())
        )
        self._runs.advance(run.id, Stage.SCORING, f"{len(entries)} users in {len(shards)} shards")
        self._ask(run.id, range(len(shards)))

    def _answers(self, entries: list[Entry]) -> bool:
        """Whether a recommender is there to ask; if not, the sweep comes back to the list."""
        try:
            self._recommender.recommend(next(entry.user for entry in entries if not entry.error), 1)
        except (BadInput, Damaged):
            return True
        except TryLater:
            return False
        return True

    def score(self, body: bytes) -> None:
        """Make the recommendations of the shard that message `body` names, and join the run if it was the last.

        Raises BadInput for a body that is no such message, TryLater where another try may succeed.
        """
        try:
            request = msgspec.json.decode(body, type=ShardRequest)
            run = self._runs.get(request.run)
        except (msgspec.DecodeError, NotFound) as error:
            raise BadInput(f"expected a ShardRequest of a known run, got {body[:200]!r}: {error}") from error
        if run.stage.is_end:
            return
        result = shard_result_blob(run.id, request.shard)
        if self._blobs.head(result) is None:
            self._create(result, b"".join(self._lines(self._shard(run, request.shard))))
        self.join(run)

    def join(self, run: Run) -> bool:
        """Whether all shards were there: then they are one file, the run is done and its shards are removed."""
        parts = [info.name for info in self._blobs.list(shard_result_prefix(run.id))]
        if not run.shards or len(parts) < run.shards:
            return False
        try:
            lines = b"".join(self._blobs.get(name).data for name in parts)
        except NotFound:  # another process joined them meanwhile
            return False
        output = recommendations_blob(run.source, run.id)
        self._create(output, lines)
        failed = lines.count(_ERROR_MARK)
        self._runs.advance(
            run.id, Stage.DONE, f"{lines.count(_NEWLINE)} users, {failed} without an answer", result=output
        )
        self.clear(run.id)
        return True

    def ask_again(self, run: Run) -> int:
        """Queue what is missing of a run that is being scored; the number of shards."""
        present = {info.name for info in self._blobs.list(shard_result_prefix(run.id))}
        missing = [shard for shard in range(run.shards) if shard_result_blob(run.id, shard) not in present]
        self._ask(run.id, missing)
        return len(missing)

    def finished(self, run: Run) -> int:
        """How many shards of the run are scored."""
        return sum(1 for _ in self._blobs.list(shard_result_prefix(run.id)))

    def clear(self, id: str) -> None:
        """Remove the shards of a run that ended."""
        for info in self._blobs.list(shards_prefix(id)):
            self._blobs.delete(info.name)

    def _ask(self, id: str, shards: Sequence[int]) -> None:
        for shard in shards:
            self._queue.send(msgspec.json.encode(ShardRequest(run=id, shard=shard)))

    def _shard(self, run: Run, shard: int) -> list[Entry]:
        try:
            return msgspec.json.decode(self._blobs.get(shard_blob(run.id, shard)).data, type=list[Entry])
        except NotFound as error:
            raise TryLater(f"shard {shard} of run {run.id} is not in storage", retry_after_s=5.0) from error

    def _lines(self, entries: list[Entry]) -> Iterator[bytes]:
        for entry in entries:
            body: dict[str, object] = {"line": entry.line}
            if entry.user:
                body["user"] = entry.user
            if entry.error:
                yield msgspec.json.encode({**body, "error": entry.error}) + _NEWLINE
                continue
            try:
                answer = self._recommender.recommend(entry.user, entry.k)
            except (BadInput, Damaged) as error:
                yield msgspec.json.encode({**body, "error": str(error)}) + _NEWLINE
            except (TryLater, ConfigurationError):  # as it would be for all others
                raise
            except Exception:
                # Whatever is wrong with this user must not cost the others their answers.
                log.exception("user %r cannot be answered", entry.user)
                yield msgspec.json.encode({**body, "error": "internal error; the log has it"}) + _NEWLINE
            else:
                yield msgspec.json.encode({**body, **msgspec.to_builtins(answer)}) + _NEWLINE

    def _refuse(self, run: Run, reason: str) -> None:
        output = recommendations_error_blob(run.source, run.id)
        self._create(output, msgspec.json.encode({"error": reason}))
        self._runs.advance(run.id, Stage.FAILED, reason, result=output)

    def _create(self, name: str, data: bytes) -> None:
        try:
            self._blobs.create(name, data)
        except AlreadyExists:
            return


_NEWLINE: Final = b"\n"
# The first key after the line and the user; no text in JSON holds an unescaped quotation mark.
_ERROR_MARK: Final = b',"error":'
