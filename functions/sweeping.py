"""The sweep: what heals when messages or blobs of the telemetry path are lost.

For each partition it looks at the batches and predictions from `verified_until` on, a hundred names per request, and

- removes predictions that score a batch other than the one that stands under the name now;
- sets the fold back to the first batch whose predictions are not those that were applied (Azurite forgets what it
  acknowledged in its last seconds, while the state store does not);
- queues a batch again whose message must be lost: later ones were scored before it, or none was for a while;
- folds what lies ready;
- moves `verified_until` past predictions that are older than any storage forgets.

It runs on a timer and at every start, and may run twice at once: a second message is harmless, and the fold compares
and sets.
"""

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec

from functions.alerts import CONTAINER
from functions.folding import POSITION, Folder, FoldPosition, StreamPartition
from functions.scoring import BATCH_ETAG
from models.contracts import BatchMessage
from models.errors import ConfigurationError, PenstockError
from models.names import batch_blob, batch_prefix, prediction_prefix
from models.ports import BlobInfo, BlobStore, Clock, StateStore, TaskQueue
from models.windowspec import WindowSpec

log = logging.getLogger(__name__)

# The stream has sent a batch's message, and a function has taken it, long before.
GRACE_S: Final = 5.0
# Azurite saves its tables every five seconds; what is so old stays.
SETTLED_S: Final = 60.0
# Between two messages of one process for one batch.
RESEND_S: Final = 30.0
_CHECKPOINTS: Final = "checkpoints/"
_BLOCK: Final = 100
_MOST_BLOCKS: Final = 20
_MOST_RESENT: Final = 100


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep found and did."""

    partitions: int = 0
    requeued: int = 0
    folded: int = 0
    failed: int = 0
    """Partitions that could not be swept; the log says why."""


class Sweeper:
    """Sweeps all partitions that have a checkpoint or a fold position."""

    def __init__(
        self, blobs: BlobStore, state: StateStore, score_queue: TaskQueue, folder: Folder, clock: Clock
    ) -> None:
        self._blobs = blobs
        self._state = state
        self._queue = score_queue
        self._folder = folder
        self._clock = clock
        # Kept in memory on purpose: a process that starts sends at once what the one before it may have lost.
        self._sent: dict[str, float] = {}
        self._lock = threading.Lock()

    def sweep(self) -> Swept:
        """Look after every partition once. A partition that fails is logged and does not hold up the others."""
        with self._lock:
            now = self._clock.now()
            self._sent = {name: sent for name, sent in self._sent.items() if now - sent < RESEND_S}
            partitions = self.partitions()
            requeued = folded = failed = 0
            for partition in partitions:
                try:
                    more_requeued, more_folded = self._sweep_partition(partition, now)
                    requeued, folded = requeued + more_requeued, folded + more_folded
                except PenstockError:
                    log.exception("sweep of %s failed", partition.key)
                    failed += 1
            return Swept(len(partitions), requeued, folded, failed)

    def partitions(self) -> list[StreamPartition]:
        """All partitions known from the stream's checkpoints or from folds."""
        named = {tuple(info.name.split("/")[1:]) for info in self._blobs.list(_CHECKPOINTS)}
        named |= {
            (position.hub, position.spec, str(position.partition))
            for position in map(_positions.decode, (d.body for d in self._state.query(CONTAINER, id_prefix=POSITION)))
        }
        return list(filter(None, map(_partition, sorted(named))))

    def _sweep_partition(self, partition: StreamPartition, now: float) -> tuple[int, int]:
        """Numbers of batches queued again and folded."""
        # Read before the listings: whatever was applied by now had its predictions stored before.
        position = self._folder.position(partition)
        batches, predictions = self._present(partition, position.verified_until)
        for seq in _of_another_batch(batches, predictions):
            log.warning("%s scores a batch that was lost and written again: removed", predictions[seq].name)
            self._blobs.delete(predictions.pop(seq).name)
        changed = _first_changed(position, batches, predictions)
        if changed is not None:
            self._folder.rewind(partition, changed)
        requeued = self._requeue(partition, batches, predictions, now)
        folded = self._folder.fold(partition)
        verified = position.verified_until
        while changed is None and verified < position.applied_until and _settled(predictions.get(verified), now):
            verified += 1
        if verified > position.verified_until:
            self._folder.verify(partition, verified, at=position)
        return requeued, folded

    def _present(self, partition: StreamPartition, first: int) -> tuple[dict[int, BlobInfo], dict[int, BlobInfo]]:
        """Batches and predictions by seq, from `first` on, without reading whole histories."""
        batches: dict[int, BlobInfo] = {}
        predictions: dict[int, BlobInfo] = {}
        for block in range(first // _BLOCK, first // _BLOCK + _MOST_BLOCKS):
            more_batches = self._block(batch_prefix(partition.hub, partition.spec, partition.number), block)
            more_predictions = self._block(prediction_prefix(partition.hub, partition.spec, partition.number), block)
            if not more_batches and not more_predictions:
                break
            batches |= {seq: info for seq, info in more_batches.items() if seq >= first}
            predictions |= {seq: info for seq, info in more_predictions.items() if seq >= first}
        return batches, predictions

    def _block(self, prefix: str, block: int) -> dict[int, BlobInfo]:
        """Blobs of the hundred seqs of `block`: their zero-padded names share all digits but two."""
        start = f"{prefix}{block:010d}"
        return {int(info.name.removeprefix(prefix).partition(".")[0]): info for info in self._blobs.list(start)}

    def _requeue(
        self,
        partition: StreamPartition,
        batches: dict[int, BlobInfo],
        predictions: dict[int, BlobInfo],
        now: float,
    ) -> int:
        lost = (
            (seq, batches[seq].name)
            for seq in _overdue(batches, predictions, now)
            if batches[seq].name not in self._sent
        )
        requeued = 0
        for seq, name in islice(lost, _MOST_RESENT):
            self._queue.send(msgspec.json.encode(_message(partition, seq)))
            self._sent[name] = now
            requeued += 1
        if requeued:
            log.warning("%d batches of %s had no predictions and were queued again", requeued, partition.key)
        return requeued


def _overdue(batches: dict[int, BlobInfo], predictions: dict[int, BlobInfo], now: float) -> Iterable[int]:
    """Batches whose message is not merely waiting its turn.

    While scoring goes on, whatever lies behind the highest scored batch is still in the queue; what lies before it
    was overtaken.
    """
    highest = max(predictions, default=-1)
    latest = max((info.modified for info in predictions.values()), default=0.0)
    for seq in sorted(batches.keys() - predictions.keys()):
        quiet_since = batches[seq].modified if seq < highest else max(batches[seq].modified, latest)
        if now - quiet_since >= GRACE_S:
            yield seq


def _of_another_batch(batches: dict[int, BlobInfo], predictions: dict[int, BlobInfo]) -> list[int]:
    """Predictions made of a batch that is no longer there: a function had read it when storage lost it."""
    return [
        seq
        for seq in batches.keys() & predictions.keys()
        if predictions[seq].metadata.get(BATCH_ETAG, batches[seq].etag) != batches[seq].etag
    ]


def _first_changed(
    position: FoldPosition, batches: dict[int, BlobInfo], predictions: dict[int, BlobInfo]
) -> int | None:
    """The first applied batch whose predictions are gone or others, None if all are as they were."""
    seen_until = max(batches.keys() | predictions.keys(), default=position.verified_until - 1) + 1
    # A listing that ended early (its limit) says nothing about what lies behind it.
    limited = seen_until - position.verified_until >= (_MOST_BLOCKS - 1) * _BLOCK
    until = min(position.applied_until, seen_until) if limited else position.applied_until
    for seq in range(position.verified_until, until):
        applied, present = position.etag_of(seq), predictions.get(seq)
        if present is None or (applied is not None and applied != present.etag):
            return seq
    return None


def _settled(predictions: BlobInfo | None, now: float) -> bool:
    return predictions is not None and now - predictions.modified > SETTLED_S


def _message(partition: StreamPartition, seq: int) -> BatchMessage:
    return BatchMessage(
        hub=partition.hub,
        spec=partition.spec.name,
        partition=partition.number,
        seq=seq,
        blob=batch_blob(partition.hub, partition.spec, partition.number, seq),
        rows=0,  # for people only, and not worth reading the batch
    )


def _partition(named: tuple[str, ...]) -> StreamPartition | None:
    """The partition of (hub, spec, number); None for names that are not ours."""
    try:
        hub, spec, number = named
        return StreamPartition(hub, WindowSpec.parse(spec), int(number))
    except (ValueError, ConfigurationError):
        return None


_positions = msgspec.json.Decoder(FoldPosition)
