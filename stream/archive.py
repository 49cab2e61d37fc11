"""Where readings go besides the windows: the raw archive, late readings and dead letters of one partition.

Each flush writes one *segment*, the items of a range of offsets, under the range's first offset. The raw blob is
written last and create-only, and its metadata says how far the range goes: once it exists, the segment is complete
and nobody writes it again. A worker that repeats another life's range finds that blob and skips what it covers.
"""

import contextlib
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from models import names
from models.contracts import DeadLetter
from models.errors import AlreadyExists
from models.ports import BlobStore
from models.tables import Readings, encode_readings

Int64 = npt.NDArray[np.int64]
THROUGH = "through"
_MAX_DEAD_CHARS = 8_000_000


@dataclass
class _Columns:
    """Readings gathered chunk by chunk."""

    device: list[str] = field(default_factory=list)
    sensor: list[str] = field(default_factory=list)
    ts_us: list[Int64] = field(default_factory=list)
    value: list[npt.NDArray[np.float64]] = field(default_factory=list)
    offset: list[Int64] = field(default_factory=list)

    def add(
        self, device: list[str], sensor: list[str], ts_us: Int64, value: npt.NDArray[np.float64], offset: Int64
    ) -> None:
        self.device += device
        self.sensor += sensor
        self.ts_us.append(ts_us)
        self.value.append(value)
        self.offset.append(offset)

    def after(self, through: int) -> Readings:
        """All readings at offsets beyond `through`, as one table."""
        empty = np.empty(0, dtype=np.int64)
        offset = np.concatenate((empty, *self.offset))
        start = int(np.searchsorted(offset, through, side="right"))
        return Readings(
            self.device[start:],
            self.sensor[start:],
            np.concatenate((empty, *self.ts_us))[start:],
            np.concatenate((np.empty(0), *self.value))[start:],
            offset[start:],
        )


class Archive:
    """Items of a partition from `first` on that are not yet in a segment."""

    def __init__(self, blobs: BlobStore, hub: str, partition: int, first: int) -> None:
        self._blobs = blobs
        self._hub = hub
        self._partition = partition
        self.first = first
        """Events before this offset stand in segments."""
        self.segments: list[str] = []
        """Names of the segments written or found since the last checkpoint, in offset order."""
        self._clear()

    def _clear(self) -> None:
        self.raw = _Columns()
        self.late = _Columns()
        self.dead: list[DeadLetter] = []
        self._dead_chars = 0

    def set_aside(self, letter: DeadLetter) -> None:
        """Add a dead letter; in any order."""
        self.dead.append(letter)
        self._dead_chars += len(letter.body)

    def full(self, max_rows: int) -> bool:
        """Whether it holds more than memory should."""
        return len(self.raw.device) >= max_rows or self._dead_chars >= _MAX_DEAD_CHARS

    def flush(self, through: int) -> None:
        """Write all items at offsets up to `through`. Repeating it after an error is harmless."""
        while self.first <= through:
            name = names.raw_blob(self._hub, self._partition, self.first)
            finished = self._blobs.head(name)
            if finished is not None:
                self.segments.append(name)
                # A former life, or a rival, wrote this segment: its range is done, ours may go further.
                self.first = int(finished.metadata[THROUGH]) + 1
                continue
            with contextlib.suppress(AlreadyExists):
                self._write_segment(through)
        self._clear()

    def _write_segment(self, through: int) -> None:
        hub, partition, first = self._hub, self._partition, self.first
        late = self.late.after(first - 1)
        dead = sorted(
            (letter for letter in self.dead if letter.offset >= first),
            key=lambda letter: (letter.offset, letter.item),
        )
        # What an unfinished attempt left under these names belongs to no segment: replace it or take it away.
        late_name, dead_name = names.late_blob(hub, partition, first), names.dead_letter_blob(hub, partition, first)
        if len(late):
            self._blobs.replace(late_name, encode_readings(late))
        else:
            self._blobs.delete(late_name)
        if dead:
            self._blobs.replace(dead_name, b"".join(msgspec.json.encode(letter) + b"\n" for letter in dead))
        else:
            self._blobs.delete(dead_name)
        self._blobs.create(
            names.raw_blob(hub, partition, first),
            encode_readings(self.raw.after(first - 1)),
            metadata={THROUGH: str(through)},
        )
