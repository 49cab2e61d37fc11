"""What one partition remembers of idempotent producers, so that a batch sent again is stored once.

As in Kafka the last five batches of each producer are kept, because a client has at most five requests in flight.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from ..errors import OutOfOrderSequence, StaleProducerEpoch
from .batch import BatchHeader
from .checkpoint import ProducerSnapshot, StoredBatch, StoredProducer

_REMEMBERED_BATCHES = 5
_REMEMBERED_PRODUCERS = 10_000
_SEQUENCES = 2**31


class _Producer:
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches: deque[StoredBatch] = deque(maxlen=_REMEMBERED_BATCHES)


class ProducerWindow:
    """The recent batches of every producer of one partition, rebuilt from the log at start.

    While nothing was forgotten (`forget_past`, or the least recent of more than 10,000 producers), an unknown one
    must begin with sequence 0: its first batch may have failed while the second came through. Afterwards any
    sequence is taken, as Kafka does, because the past of a quiet producer may have been deleted.
    """

    def __init__(self) -> None:
        self._producers: OrderedDict[int, _Producer] = OrderedDict()
        self._past_is_whole = True

    def check(self, batch: BatchHeader) -> StoredBatch | None:
        """The stored batch this one repeats, or None when it is the next one to store.

        Raises OutOfOrderSequence for a gap and StaleProducerEpoch for a producer that was replaced.
        """
        if batch.producer_id < 0:
            return None
        known = self._producers.get(batch.producer_id)
        if known is None:
            if self._past_is_whole and batch.base_sequence != 0:
                raise OutOfOrderSequence(f"producer {batch.producer_id} begins at {batch.base_sequence}, not 0")
            return None
        if batch.producer_epoch < known.epoch:
            raise StaleProducerEpoch(f"producer {batch.producer_id} is at epoch {known.epoch} already")
        if batch.producer_epoch > known.epoch:
            if batch.base_sequence != 0:
                raise OutOfOrderSequence(f"producer {batch.producer_id} begins a new epoch at {batch.base_sequence}")
            return None
        last_sequence = _last_sequence(batch)
        for stored in known.batches:
            if (stored.base_sequence, stored.last_sequence) == (batch.base_sequence, last_sequence):
                return stored
        expected = (known.batches[-1].last_sequence + 1) % _SEQUENCES
        if batch.base_sequence != expected:
            raise OutOfOrderSequence(
                f"producer {batch.producer_id} sent sequence {batch.base_sequence}, expected {expected}"
            )
        return None

    def note(self, batch: BatchHeader) -> None:
        """Remember a batch that was stored."""
        if batch.producer_id < 0:
            # Where compaction has dropped batches, a producer may have had its past.
            self._past_is_whole = self._past_is_whole and batch.record_count > 0
            return
        known = self._producers.get(batch.producer_id)
        if known is None or known.epoch != batch.producer_epoch:
            known = self._producers[batch.producer_id] = _Producer(batch.producer_epoch)
        known.batches.append(
            StoredBatch(
                batch.base_sequence,
                _last_sequence(batch),
                batch.base_offset,
                batch.next_offset,
                batch.max_timestamp,
            )
        )
        self._producers.move_to_end(batch.producer_id)
        if len(self._producers) > _REMEMBERED_PRODUCERS:
            self._producers.popitem(last=False)
            self._past_is_whole = False

    def base_offsets(self) -> frozenset[int]:
        """Where the remembered batches begin."""
        return frozenset(batch.base_offset for known in self._producers.values() for batch in known.batches)

    def snapshot(self, next_offset: int) -> ProducerSnapshot:
        """What is remembered, to be kept in a file; all batches below `next_offset` were noted."""
        return ProducerSnapshot(
            next_offset,
            self._past_is_whole,
            [
                StoredProducer(producer_id, known.epoch, list(known.batches))
                for producer_id, known in self._producers.items()
            ],
        )

    def restore(self, snapshot: ProducerSnapshot | None) -> None:
        """Remember exactly what was kept; nothing if nothing was."""
        self._producers.clear()
        self._past_is_whole = snapshot is None or snapshot.past_is_whole
        for stored in snapshot.producers if snapshot is not None else ():
            known = self._producers[stored.producer_id] = _Producer(stored.epoch)
            known.batches.extend(stored.batches)

    def forget_past(self) -> None:
        """The start of the log was deleted, so a producer not remembered may nevertheless have a past."""
        self._past_is_whole = False


def _last_sequence(batch: BatchHeader) -> int:
    return (batch.base_sequence + batch.last_offset_delta) % _SEQUENCES
