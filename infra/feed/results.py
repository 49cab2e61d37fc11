"""What the telemetry path stored: checkpoints, predictions, folds, alerts, late readings and dead letters.

Read straight from blobs and state store. Nothing is cached: a store that lost its latest writes is believed.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np

from functions.alerts import CONTAINER, find_alerts
from functions.folding import POSITION, FoldPosition, StreamPartition
from models import names
from models.contracts import Alert, AlertStatus, DeadLetter, PredictionStatus
from models.errors import BadInput, NotFound
from models.ports import BlobStore, StateStore
from models.tables import Predictions, decode_predictions, decode_readings
from models.windowspec import WindowSpec


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition's stored results reach."""

    offset: int
    """Events before it are processed, their closed windows written and their archive segments complete."""
    batches: int
    """So many batches are written (seq 0 .. batches - 1)."""
    folded: int
    """So many of them are scored and folded into alerts, and the predictions folded still stand."""


@dataclass(slots=True)
class ScoreCount:
    """Windows counted so far, and where counting goes on."""

    scored: int = 0
    learning: int = 0
    next_seq: dict[int, int] = field(default_factory=dict)


class SetAside(msgspec.Struct, frozen=True):
    """A reading or event that is in no window: `reason` is "late" or one of models.contracts.Reason."""

    reason: str
    partition: int
    offset: int
    item: int | None
    """Place in the event's array; not known of late readings."""
    detail: str
    body: str

    @classmethod
    def of(cls, letter: DeadLetter) -> "SetAside":
        """What a dead letter says."""
        return cls(letter.reason, letter.partition, letter.offset, letter.item, letter.detail, letter.body)


class Results:
    """Stored results of one hub and window specification."""

    def __init__(self, blobs: BlobStore, state: StateStore, hub: str, spec: WindowSpec) -> None:
        self._blobs, self._state, self.hub, self.spec = blobs, state, hub, spec

    def progress(self, partition: int) -> Progress:
        """Where the partition's checkpoint and fold stand; zeros before the first ones."""
        info = self._blobs.head(names.checkpoint_blob(self.hub, self.spec, partition))
        if info is None:
            return Progress(0, 0, 0)
        return Progress(int(info.metadata["offset"]), int(info.metadata["next_seq"]), self._folded(partition))

    def _folded(self, partition: int) -> int:
        """Batches that are folded, up to the first one whose predictions are gone or no longer those folded."""
        key = StreamPartition(self.hub, self.spec, partition).key
        document = self._state.get(CONTAINER, key, POSITION)
        if document is None:
            return 0
        position = msgspec.json.decode(document.body, type=FoldPosition)
        prefix = names.prediction_prefix(self.hub, self.spec, partition)
        etags = {_number(info.name): info.etag for info in self._blobs.list(prefix)}
        for seq in range(position.verified_until, position.applied_until):
            if seq not in etags or position.etag_of(seq) not in (None, etags[seq]):
                return seq
        return position.applied_until

    def partitions(self) -> list[int]:
        """Partitions that have predictions."""
        prefix = names.prediction_prefix(self.hub, self.spec)
        return sorted({int(info.name.removeprefix(prefix).split("/", 1)[0]) for info in self._blobs.list(prefix)})

    def predictions(self, partition: int, *, from_offset: int = 0) -> Iterator[Predictions]:
        """Prediction files of the partition, newest first, down to the last one with windows closed before
        `from_offset` (windows of a file close at the same or earlier offsets than those of the next file).
        """
        prefix = names.prediction_prefix(self.hub, self.spec, partition)
        for info in reversed(list(self._blobs.list(prefix))):
            found = decode_predictions(self._blobs.get(info.name).data)
            if len(found) and int(found.closed_offset.max()) < from_offset:
                return
            yield found

    def count_scores(self, count: ScoreCount) -> None:
        """Add the windows of batches that were scored since the last call. For a display: rewound batches are not
        counted again.
        """
        for partition in self.partitions():
            prefix = names.prediction_prefix(self.hub, self.spec, partition)
            for info in self._blobs.list(prefix):
                if (seq := _number(info.name)) >= count.next_seq.get(partition, 0):
                    status = decode_predictions(self._blobs.get(info.name).data).status
                    count.scored += status.count(PredictionStatus.SCORED)
                    count.learning += status.count(PredictionStatus.LEARNING)
                    count.next_seq[partition] = seq + 1

    def late_offsets(self, partition: int, first: int, last: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Event offset of every late reading from an event in [first, last]."""
        offsets = [np.empty(0, dtype=np.int64)]
        for start, through in self._segments(partition, first, last):
            try:
                late = decode_readings(self._blobs.get(names.late_blob(self.hub, partition, start, through)).data)
            except NotFound:
                continue
            offsets.append(late.offset[(late.offset >= first) & (late.offset <= min(last, through))])
        return np.concatenate(offsets)

    def dead_letters(self, partition: int, first: int, last: int) -> Iterator[DeadLetter]:
        """Items set aside from events in [first, last], in log order."""
        for start, through in self._segments(partition, first, last):
            try:
                lines = self._blobs.get(names.dead_letter_blob(self.hub, partition, start, through)).data.splitlines()
            except NotFound:
                continue
            for line in lines:
                letter = msgspec.json.decode(line, type=DeadLetter)
                if first <= letter.offset <= min(last, through):
                    yield letter

    def set_aside(self) -> Iterator[SetAside]:
        """Every late reading and dead letter, latest archive segments first, in log order within one."""
        everything = sys.maxsize
        prefix = names.raw_prefix(self.hub)
        for partition in sorted(
            {int(info.name.removeprefix(prefix).split("/", 1)[0]) for info in self._blobs.list(prefix)}
        ):
            for start, through in reversed(list(self._segments(partition, 0, everything))):
                yield from self._late(partition, start, through)
                yield from map(SetAside.of, self.dead_letters(partition, start, through))

    def _late(self, partition: int, start: int, through: int) -> Iterator[SetAside]:
        try:
            late = decode_readings(self._blobs.get(names.late_blob(self.hub, partition, start, through)).data)
        except NotFound:
            return
        columns = (late.device, late.sensor, late.ts_us.tolist(), late.value.tolist(), late.offset.tolist())
        for device, sensor, ts_us, value, offset in zip(*columns, strict=True):
            body = {"device": device, "sensor": sensor, "ts": ts_us / 1e6, "value": value}
            text = msgspec.json.encode(body).decode()
            yield SetAside("late", partition, offset, None, "all windows of this time were closed", text)

    def alerts(
        self, *, device: str | None = None, sensor: str | None = None, status: AlertStatus | None = None
    ) -> list[Alert]:
        """Alert episodes of this hub and specification, latest start first."""
        found = find_alerts(self._state, device=device, sensor=sensor, status=status, limit=sys.maxsize)
        return [alert for alert in found if (alert.hub, alert.spec) == (self.hub, self.spec.name)]

    def _segments(self, partition: int, first: int, last: int) -> Iterator[tuple[int, int]]:
        """First and last offset of the complete archive segments that touch [first, last].

        Late readings and dead letters without such a segment are of an unfinished attempt, and written again.
        """
        for info in self._blobs.list(names.raw_prefix(self.hub, partition)):
            start = _number(info.name)
            through = int(info.metadata["through"])
            if start <= last and through >= first:
                yield start, through


def _number(blob: str) -> int:
    text = blob.rsplit("/", 1)[-1].split(".", 1)[0]
    if not text.isdigit():
        raise BadInput(f"blob name: expected a number at the end, got {blob!r}")
    return int(text)
