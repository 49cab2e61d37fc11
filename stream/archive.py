"""Where readings go besides the windows: the raw archive, late readings and dead letters of one partition.

Each flush writes one *segment*, the items of a range of offsets, under the range's first offset. The raw blob is
written last and create-only, and its metadata says how far the range goes: once it exists, the segment is complete
and nobody writes it again. A worker that repeats another life's range finds that blob and skips what it covers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from models import names
from models.contracts import DeadLetter
from models.errors import AlreadyExists, TryLater
from models.ports import BlobInfo, BlobStore
from models.tables import Coded, encode_coded_readings
from stream.series import Series

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
MAX_DEAD_BYTES = 16_000_000
"""Of dead letters in memory."""
# What a letter takes beside its texts.
_LETTER_BYTES = 500


@dataclass
class _Columns:
    """Readings gathered chunk by chunk."""

    series: list[Int32] = field(default_factory=list)
    ts_us: list[Int64] = field(default_factory=list)
    value: list[npt.NDArray[np.float64]] = field(default_factory=list)
    offset: list[Int64] = field(default_factory=list)
    rows: int = 0

    def add(self, series: Int32, ts_us: Int64, value: npt.NDArray[np.float64], offset: Int64) -> None:
        self.series.append(series)
        self.ts_us.append(ts_us)
        self.value.append(value)
        self.offset.append(offset)
        self.rows += len(series)

    def encoded_from(self, first: int, names_of: Series) -> bytes | None:
        """All readings at offsets from `first` on as Parquet; None if there are none."""
        if self.rows == 0:
            return None
        offset = np.concatenate(self.offset)
        start = int(np.searchsorted(offset, first))
        device, sensor = names_of.names_of(np.concatenate(self.series)[start:])
        ts_us, value = np.concatenate(self.ts_us)[start:], np.concatenate(self.value)[start:]
        return encode_coded_readings(device, sensor, ts_us, value, offset[start:]) if len(ts_us) else None


def store_letters(blobs: BlobStore, name: str, letters: Sequence[DeadLetter]) -> None:
    """Write the dead letters of a segment as JSON lines; nothing if there are none."""
    if letters:
        blobs.replace(name, b"".join(msgspec.json.encode(letter) + b"\n" for letter in letters))


class Archive:
    """Items of a partition from `first` on that are not yet in a segment."""

    def __init__(self, blobs: BlobStore, hub: str, partition: int, first: int, series: Series) -> None:
        self._blobs = blobs
        self._series = series
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
        self._dead_bytes = 0

    def set_aside(self, letter: DeadLetter) -> None:
        """Add a dead letter; in any order."""
        self.dead.append(letter)
        self._dead_bytes += len(letter.body) + len(letter.detail) + _LETTER_BYTES

    def full(self, max_rows: int) -> bool:
        """Whether it holds more than memory should."""
        return self.raw.rows >= max_rows or self._dead_bytes >= MAX_DEAD_BYTES

    def flush(self, through: int) -> None:
        """Write all items at offsets up to `through`. Repeating it after an error is harmless."""
        while self.first <= through:
            name = names.raw_blob(self._hub, self._partition, self.first)
            # With late readings or dead letters there is more to write than the blob that tells: look first.
            finished = self._blobs.head(name) if self.late.rows or self.dead else None
            if finished is None:
                finished = self._write_segment(name, through)
            self.segments.append(name)
            self.first = int(finished.metadata[names.THROUGH]) + 1
        self._clear()

    def _write_segment(self, name: str, through: int) -> BlobInfo:
        """Info of the raw blob; of another's where a former life, or a rival, wrote this segment first.

        Its range is then done, and may end earlier or later than ours.
        """
        hub, partition, first = self._hub, self._partition, self.first
        late = self.late.encoded_from(first, self._series)
        dead = sorted(
            (letter for letter in self.dead if letter.offset >= first),
            key=lambda letter: (letter.offset, letter.item),
        )
        # Their names hold the whole range and their content follows from it: whoever writes them again writes the
        # same, and those of a range that no raw blob names count for nothing.
        if late is not None:
            self._blobs.replace(names.late_blob(hub, partition, first, through), late)
        store_letters(self._blobs, names.dead_letter_blob(hub, partition, first, through), dead)
        raw = self.raw.encoded_from(first, self._series) or _no_readings()
        try:
            return self._blobs.create(name, raw, metadata={names.THROUGH: str(through)})
        except AlreadyExists:
            finished = self._blobs.head(name)
            if finished is None:
                raise TryLater(f"{name} was there and is gone") from None
            return finished


def _no_readings() -> bytes:
    """The segment of a range whose events held no reading."""
    nothing, no_times = Coded.of([]), np.empty(0, dtype=np.int64)
    return encode_coded_readings(nothing, nothing, no_times, np.empty(0), no_times)
