"""Event-time windows of one partition, columnar.

Everything here is a function of the readings in log order: however they are cut into chunks, the same windows
close with the same features (`tests/unit/test_stream_windows.py` holds it against a reading-by-reading model).

Per device: the largest event time seen, and a *forced* time through which an idle close or a flush marker has
closed it. Its windows are closed through `max(largest event time - lateness, forced)`; a reading none of whose
windows is still open is late. Readings of open windows lie in append-only blocks and are reduced at close.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.contracts import ClosedBy
from models.features import WindowFeatures, reduce_readings
from models.windowspec import WindowSpec

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).min // 4
"""Before any event time, with room to subtract a lateness."""
_OPEN_END = np.iinfo(np.int64).max
_BLOCK_ROWS = 1 << 18


@dataclass(frozen=True, slots=True)
class Rows:
    """n readings and flush markers in log order.

    device, series: int32 (series is -1 for a flush marker); ts_us, append_us: epoch microseconds.
    """

    device: Int32
    series: Int32
    ts_us: Int64
    value: Float64
    append_us: Int64

    def __len__(self) -> int:
        return len(self.device)


@dataclass(frozen=True, slots=True)
class ClosedWindows:
    """n windows closed together; `features.window` is not meaningful here."""

    series: Int32
    start_us: Int64
    closed_by: list[ClosedBy]
    features: WindowFeatures


@dataclass(frozen=True, slots=True)
class Block:
    """Readings of open windows in log order: series, time relative to `base_us`, value; compact where it fits.

    `back` tells which of the windows over a reading the row belongs to: the one starting that many hops before
    the reading's own pane (0 for tumbling windows).
    """

    series: npt.NDArray[np.uint16] | Int32
    base_us: int
    relative_us: npt.NDArray[np.uint32] | Int64
    value: Float64
    back: npt.NDArray[np.uint8] | None

    def __len__(self) -> int:
        return len(self.series)

    @classmethod
    def of(cls, series: Int32, ts_us: Int64, value: Float64, back: npt.NDArray[np.uint8] | None) -> "Block":
        """A block of n > 0 rows: series below 65,536 in 2 bytes, times that span less than 71 minutes in 4."""
        base = int(ts_us.min())
        relative: npt.NDArray[np.uint32] | Int64 = ts_us - base
        if int(relative.max()) <= np.iinfo(np.uint32).max:
            relative = relative.astype(np.uint32)
        small = int(series.max()) <= np.iinfo(np.uint16).max
        return cls(series.astype(np.uint16) if small else series, base, relative, value, back)

    @property
    def ts_us(self) -> Int64:
        """Event time of each row, epoch microseconds."""
        return self.relative_us.astype(np.int64) + self.base_us

    def start_us(self, hop_us: int) -> Int64:
        """Start of each row's window."""
        start = _multiple(self.ts_us, hop_us)
        if self.back is not None:
            start -= self.back.astype(np.int64) * hop_us
        return start

    def taken(self, mask: Bool) -> "Block":
        """The rows that `mask` selects."""
        return Block(
            self.series[mask],
            self.base_us,
            self.relative_us[mask],
            self.value[mask],
            None if self.back is None else self.back[mask],
        )


@dataclass
class DeviceTimes:
    """Clocks of each device, by device number; arrays grow by doubling, `size` of them are in use."""

    largest_us: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    forced_us: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    seen_us: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Broker append time of the device's latest event."""
    flushed: Bool = field(default_factory=lambda: np.empty(0, dtype=bool))
    """Whether the latest forced close was a flush marker rather than an idle close."""
    next_end_us: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """End of the device's earliest open window."""
    size: int = 0

    def grow(self, size: int) -> None:
        """Make room for devices 0 .. size-1."""
        if size > len(self.largest_us):
            extra = max(size, 2 * len(self.largest_us), 64) - len(self.largest_us)
            self.largest_us = np.concatenate((self.largest_us, np.full(extra, NEVER)))
            self.forced_us = np.concatenate((self.forced_us, np.full(extra, NEVER)))
            self.seen_us = np.concatenate((self.seen_us, np.full(extra, NEVER)))
            self.flushed = np.concatenate((self.flushed, np.zeros(extra, dtype=bool)))
            self.next_end_us = np.concatenate((self.next_end_us, np.full(extra, _OPEN_END)))
        self.size = max(self.size, size)


class OpenWindows:
    """The open windows of a partition."""

    def __init__(self, spec: WindowSpec, *, lateness_us: int, idle_us: int) -> None:
        self.spec = spec
        self.lateness_us = lateness_us
        self.idle_us = idle_us
        self.devices = DeviceTimes()
        self.blocks: list[Block] = []

    @property
    def readings(self) -> int:
        """Rows held: a reading counts once per open window over it."""
        return sum(map(len, self.blocks))

    def add(self, rows: Rows) -> Bool:
        """Take rows in; true for each reading that is late (and was not taken)."""
        if len(rows) == 0:
            return np.empty(0, dtype=bool)
        devices = self.devices
        devices.grow(int(rows.device.max()) + 1)
        order = np.argsort(rows.device, kind="stable")
        device, ts_us = rows.device[order], rows.ts_us[order]
        marker = rows.series[order] < 0
        starts = np.flatnonzero(np.concatenate(([True], device[1:] != device[:-1])))
        segment = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(device)))

        event_time = np.where(marker, NEVER, ts_us)
        largest = _running_max(event_time, segment)
        before = np.concatenate(([NEVER], largest[:-1]))
        before[starts] = NEVER
        before = np.maximum(before, devices.largest_us[device])
        forced_after, forced_by_marker = self._forced(rows.append_us[order], device, segment, starts, marker, before)

        closed_before = np.maximum(before - self.lateness_us, forced_after)
        pane = _multiple(ts_us, self.spec.hop_us)
        late = ~marker & (pane + self.spec.size_us <= closed_before)
        taken = ~marker & ~late

        last = np.append(starts[1:], len(device)) - 1
        here = device[last]
        devices.largest_us[here] = np.maximum(devices.largest_us[here], largest[last])
        devices.forced_us[here] = forced_after[last]
        devices.flushed[here] = forced_by_marker[last]
        devices.seen_us[here] = np.maximum(devices.seen_us[here], rows.append_us[order][last])
        late_in_log_order = np.empty(len(rows), dtype=bool)
        late_in_log_order[order] = late
        kept = np.empty(len(rows), dtype=bool)
        kept[order] = taken
        closed = np.empty(len(rows), dtype=np.int64)
        closed[order] = closed_before
        self._store(rows, kept, closed)
        return late_in_log_order

    def _forced(
        self, append_us: Int64, device: Int32, segment: Int64, starts: Int64, marker: Bool, before: Int64
    ) -> tuple[Int64, Bool]:
        """Per row: through when its device was closed by force up to and including this row, and by what.

        A marker forces, and so does a silence of more than `idle_us` before the row.
        """
        devices = self.devices
        seen = np.concatenate(([NEVER], append_us[:-1]))
        seen[starts] = devices.seen_us[device[starts]]
        forcing = marker | ((seen > NEVER) & (append_us - seen > self.idle_us))
        forcing &= before > NEVER
        if not forcing.any():
            return devices.forced_us[device], devices.flushed[device]
        position = np.where(forcing, np.arange(len(device)), -1)
        latest = np.maximum.accumulate(position)
        in_chunk = latest >= starts[segment]
        through = np.where(in_chunk, self._end_of_last_window(before[latest]), NEVER)
        forced = np.maximum(through, devices.forced_us[device])
        by_marker = np.where(through >= devices.forced_us[device], marker[latest] & in_chunk, devices.flushed[device])
        return forced, by_marker

    def _end_of_last_window(self, largest_us: Int64) -> Int64:
        """End of the latest window over each device's largest event time."""
        return _multiple(largest_us, self.spec.hop_us) + self.spec.size_us

    def _store(self, rows: Rows, kept: Bool, closed_us: Int64) -> None:
        """Append the kept rows, once per window that is still open for them."""
        if not kept.any():
            return
        series, device, ts_us, value = rows.series, rows.device, rows.ts_us, rows.value
        if not kept.all():
            series, device, closed_us = series[kept], device[kept], closed_us[kept]
            ts_us, value = ts_us[kept], value[kept]
        back: npt.NDArray[np.uint8] | None = None
        if self.spec.panes > 1:
            back = np.tile(np.arange(self.spec.panes, dtype=np.uint8), len(series))
            reading = np.repeat(np.arange(len(series)), self.spec.panes)
            end = self._ends(ts_us[reading], back)
            still_open = end > closed_us[reading]
            reading, back = reading[still_open], back[still_open]
            series, device, ts_us, value = series[reading], device[reading], ts_us[reading], value[reading]
        np.minimum.at(self.devices.next_end_us, device, self._ends(ts_us, back))
        self.blocks.append(Block.of(series, ts_us, value, back))
        self._merge_small_blocks()

    def _ends(self, ts_us: Int64, back: npt.NDArray[np.uint8] | None) -> Int64:
        end = _multiple(ts_us, self.spec.hop_us) + self.spec.size_us
        return end if back is None else end - back.astype(np.int64) * self.spec.hop_us

    def _merge_small_blocks(self) -> None:
        """Keep the number of blocks logarithmic: merge the newest while they are of similar size."""
        blocks = self.blocks
        while len(blocks) > 1 and len(blocks[-2]) < 2 * len(blocks[-1]) and len(blocks[-2]) < _BLOCK_ROWS:
            newer, older = blocks.pop(), blocks.pop()
            back = None
            if older.back is not None and newer.back is not None:
                back = np.concatenate((older.back, newer.back))
            blocks.append(
                Block.of(
                    np.concatenate((older.series, newer.series)),
                    np.concatenate((older.ts_us, newer.ts_us)),
                    np.concatenate((older.value, newer.value)),
                    back,
                )
            )

    def force_idle(self, before_us: int) -> None:
        """Close the windows of devices that have some open and were last seen before `before_us`."""
        devices = self.devices
        idle = np.flatnonzero((devices.next_end_us < _OPEN_END) & (devices.seen_us < before_us))
        if len(idle):
            self._force(idle, self._end_of_last_window(devices.largest_us[idle]))

    def force_through(self, device: int, through_us: int) -> None:
        """Close a device's windows that end by `through_us`, as an idle close in an adopted batch did."""
        if device < self.devices.size:
            self._force(np.array([device]), np.array([through_us]))

    def _force(self, numbers: Int64, through_us: Int64) -> None:
        devices = self.devices
        raised = through_us > devices.forced_us[numbers]
        devices.forced_us[numbers] = np.maximum(devices.forced_us[numbers], through_us)
        devices.flushed[numbers[raised]] = False

    def closed_us(self) -> Int64:
        """Through when each device's windows are closed."""
        devices = self.devices
        return np.maximum(devices.largest_us - self.lateness_us, devices.forced_us)

    def closable(self) -> bool:
        """Whether `take_closed` would return anything."""
        return bool((self.devices.next_end_us <= self.closed_us()).any())

    def take_closed(self, device_of: Int32) -> ClosedWindows | None:
        """Remove and reduce all closed windows. device_of: device number of each series."""
        devices, closed_us = self.devices, self.closed_us()
        closing = devices.next_end_us <= closed_us
        if not closing.any():
            return None
        # A series none of whose windows closes never matches: its threshold lies before all time.
        threshold = np.where(closing, closed_us, NEVER)[device_of]
        taken, kept = [], []
        devices.next_end_us[closing] = _OPEN_END
        for block in self.blocks:
            end = block.start_us(self.spec.hop_us) + self.spec.size_us
            gone = end <= threshold[block.series]
            if not gone.any():
                kept.append(block)
            else:
                taken.append(block.taken(gone))
                if not gone.all():
                    block, end = block.taken(~gone), end[~gone]
                    kept.append(block)
                else:
                    continue
            of_closing = closing[device_of[block.series]]
            np.minimum.at(devices.next_end_us, device_of[block.series[of_closing]], end[of_closing])
        self.blocks = kept
        return self._reduce(taken, device_of) if taken else None

    def _reduce(self, blocks: list[Block], device_of: Int32) -> ClosedWindows:
        hop_us = self.spec.hop_us
        series = np.concatenate([block.series for block in blocks]).astype(np.int64)
        slot = np.concatenate([block.start_us(hop_us) for block in blocks]) // hop_us
        ts_us = np.concatenate([block.ts_us for block in blocks])
        value = np.concatenate([block.value for block in blocks])
        first = int(slot.min())
        slots = int(slot.max()) - first + 1
        features = reduce_readings(series * slots + (slot - first), ts_us, value)
        closed_series = (features.window // slots).astype(np.int32)
        start_us = (features.window % slots + first) * hop_us
        return ClosedWindows(
            series=closed_series,
            start_us=start_us,
            closed_by=self._reasons(device_of[closed_series], start_us + self.spec.size_us),
            features=features,
        )

    def _reasons(self, device: Int32, end_us: Int64) -> list[ClosedBy]:
        forced = end_us <= self.devices.forced_us[device]
        flushed = self.devices.flushed[device]
        return [
            ClosedBy.WATERMARK if not by_force else ClosedBy.FLUSH if by_marker else ClosedBy.IDLE
            for by_force, by_marker in zip(forced.tolist(), flushed.tolist(), strict=True)
        ]


def _multiple(us: Int64, of: int) -> Int64:
    """The largest multiple of `of` up to each number; NumPy divides faster than it takes remainders."""
    return us // of * of


def _running_max(values: Int64, segment: Int64) -> Int64:
    """Running maximum within each segment (segment numbers ascend).

    Over ranks rather than values: `segment * n + rank` cannot overflow, whatever times devices claim.
    """
    n = len(values)
    if not ((values[1:] < values[:-1]) & (segment[1:] == segment[:-1])).any():
        return values
    by_value = np.argsort(values, kind="stable")
    rank = np.empty(n, dtype=np.int64)
    rank[by_value] = np.arange(n)
    return values[by_value[np.maximum.accumulate(segment * n + rank) - segment * n]]
