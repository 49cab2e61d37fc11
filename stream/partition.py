"""One partition of the hub: the steps of the delivery contract, on ports (docs/delivery.md).

`process` and `close_idle` only compute; `hand_over` and `checkpoint` only store. All state between checkpoints may
be lost at any moment: `restore` rebuilds it from the checkpoint, the batches written since, and the log.
"""

import time

import msgspec
import numpy as np
import numpy.typing as npt

from models import names
from models.contracts import BatchMessage, ClosedBy, DeadLetter, Reason
from models.errors import AlreadyExists, NotFound, Superseded
from models.ports import BlobStore, Clock, TaskQueue
from models.tables import WindowBatch, Windows, decode_batch, encode_batch
from stream.archive import Archive
from stream.checkpoint import Checkpoint, Counters, decode_checkpoint, encode_checkpoint
from stream.config import StreamConfig
from stream.decode import MAX_BODY_CHARS, Chunk, Decoded, decode
from stream.series import UNKNOWN, Series
from stream.steps import REST_S, SETTLED_S, require
from stream.windows import ClosedWindows, OpenWindows, Rows

Key = tuple[str, str, int]
"""Device, sensor and start of a window."""

# Collecting closed windows reads every open reading once; it may take up to a tenth of the worker's time.
_COLLECT_SHARE = 10
# A checkpoint may take up to this share of the worker's time (the contract says 5 %).
_CHECKPOINT_SHARE = 25


class Partition:
    """State and steps of one partition; not thread-safe: one caller at a time."""

    def __init__(self, config: StreamConfig, number: int, blobs: BlobStore, queue: TaskQueue, clock: Clock) -> None:
        self._config = config
        self._number = number
        self._blobs = blobs
        self._queue = queue
        self._clock = clock
        self.next_offset = 0
        """The next offset to process."""
        self.checkpoint_offset = 0
        """The offset that a restart would read from."""
        self.counters = Counters()
        self.archive_s = self.checkpoint_s = 0.0
        """Seconds spent on the archive and on checkpoints since the process took the partition over."""

    # ------------------------------------------------------------------ start

    def restore(self) -> int:
        """Load the checkpoint and adopt the batches written after it; the offset to read from.

        Called at every assignment and after every lost race; forgets all other state.
        """
        config = self._config
        empty = OpenWindows(config.spec, lateness_us=config.lateness_us, idle_us=config.idle_us)
        try:
            blob = self._blobs.get(self._checkpoint_name)
            stored = decode_checkpoint(
                blob.data, max_devices=config.max_devices, max_series=config.max_series, empty=empty
            )
            self._checkpoint_etag: str | None = blob.info.etag
        except NotFound:
            stored = Checkpoint(0, 0, 0, 0, Counters(), Series(config.max_devices, config.max_series), empty)
            self._checkpoint_etag = None
        self._series, self._windows, self.counters = stored.series, stored.windows, stored.counters
        self._append_us = stored.append_us
        self.next_offset = self.checkpoint_offset = stored.offset
        self._next_seq = self._checkpoint_seq = stored.next_seq
        self._archive = Archive(self._blobs, config.hub, self._number, stored.archived, self._series)
        self._pending: Windows | None = None
        self._closed_at = 0.0
        self._adopted: set[Key] = set()
        self._adopted_through = -1
        """Up to here, windows that are still open in this life may stand in an adopted batch."""
        self._forced: dict[int, list[tuple[str, int]]] = {}
        """By offset: (device, time) through which an adopted batch had closed it for idleness after that offset."""
        self._closable_since: float | None = None
        self._collect_cost_s = self._checkpoint_cost_s = 0.0
        self._checkpointed_at = time.monotonic()
        while self._adopt_next():
            pass
        return self.next_offset

    # ------------------------------------------------------------------ compute

    def process(self, chunk: Chunk) -> None:
        """Take in the events of a chunk that were not processed before."""
        chunk = chunk.after(self.next_offset)
        if len(chunk) == 0:
            return
        last_offset = int(chunk.offset[-1])
        decoded = decode(chunk.body)
        for event, item, detail, body in ((r.event, r.item, r.detail, r.body) for r in decoded.rejected):
            self._set_aside(int(chunk.offset[event]), item, Reason.MALFORMED, detail, body)
        if len(decoded):
            self._take(chunk, decoded)
        self._apply_forced(last_offset)
        self.counters.events += len(chunk)
        self._append_us = max(self._append_us, int(chunk.append_us[-1]))
        self.next_offset = last_offset + 1
        self._windows.force_idle(self._append_us - self._config.idle_us)
        self._note_closable()

    def close_idle(self, silent_for_s: float) -> None:
        """Close the windows of idle devices by the wall clock: the partition's end was watched for so long.

        The next batch records it, so a later life closes them at the same place in the log.
        """
        config = self._config
        if silent_for_s > config.idle_after_s:
            self._windows.force_idle(self._append_us + round(silent_for_s * 1e6) - config.idle_us)
            self._note_closable()
            # At once, before anything more is read: the batch must say after which offset this happened.
            self._collect()

    def _take(self, chunk: Chunk, decoded: Decoded) -> None:
        """Rows of a chunk into windows and archive, split where an adopted batch closed windows by force."""
        offset, append_us = chunk.offset[decoded.event], chunk.append_us[decoded.event]
        marker = np.isnan(decoded.value)
        device = self._series.device_ids(decoded.device)
        ahead = ~marker & (decoded.ts_us > append_us + self._config.max_ahead_us)
        new_device = device == UNKNOWN
        series = self._series_of(device, decoded.sensor, ~(marker | ahead | new_device))
        taken = marker | (series != UNKNOWN)
        room = self._config.max_open_readings - self._windows.readings
        no_room = np.zeros(len(decoded), dtype=bool)
        if room < len(decoded):
            no_room = ~marker & taken & (np.cumsum(taken & ~marker) > room)
        for i in np.flatnonzero(~taken | no_room).tolist():
            reason = (
                Reason.AHEAD_OF_CLOCK
                if ahead[i]
                else Reason.TOO_MANY_DEVICES
                if new_device[i]
                else Reason.TOO_MANY_READINGS
                if no_room[i]
                else Reason.TOO_MANY_SERIES
            )
            self._refuse(decoded, i, reason, int(offset[i]), int(append_us[i]))
        keep = np.flatnonzero(taken & ~no_room & ~new_device)
        ts_us, value = decoded.ts_us, decoded.value
        if len(keep) < len(decoded):
            device, series, ts_us, value = device[keep], series[keep], ts_us[keep], value[keep]
            offset, append_us, marker = offset[keep], append_us[keep], marker[keep]
        late = np.zeros(len(keep), dtype=bool)
        if len(keep) == 0:
            return
        cuts = [int(np.searchsorted(offset, at, side="right")) for at in sorted(self._forced) if at < offset[-1]]
        for start, end in zip([0, *cuts], [*cuts, len(keep)], strict=True):
            if start:
                self._apply_forced(int(offset[start - 1]))
            part = slice(start, end)
            late[part] = self._windows.add(
                Rows(device[part], series[part], ts_us[part], value[part], append_us[part])
            )
        self._keep_raw(series, ts_us, value, offset, marker, late)

    def _series_of(
        self, device: npt.NDArray[np.int32], sensors: list[str], wanted: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int32]:
        """Series number of each wanted row, UNKNOWN of the others and of new ones beyond the limit."""
        if wanted.all():
            return self._series.series_ids(device, sensors)
        series = np.full(len(device), UNKNOWN, dtype=np.int32)
        rows = np.flatnonzero(wanted)
        series[rows] = self._series.series_ids(device[rows], [sensors[i] for i in rows.tolist()])
        return series

    def _keep_raw(
        self,
        series: npt.NDArray[np.int32],
        ts_us: npt.NDArray[np.int64],
        value: npt.NDArray[np.float64],
        offset: npt.NDArray[np.int64],
        marker: npt.NDArray[np.bool_],
        late: npt.NDArray[np.bool_],
    ) -> None:
        """Note readings for the raw archive, late ones for `late/` as well."""
        if marker.any():
            read = ~marker
            series, ts_us, value, offset, late = series[read], ts_us[read], value[read], offset[read], late[read]
        self._archive.raw.add(series, ts_us, value, offset)
        late_rows = int(late.sum())
        if late_rows:
            self._archive.late.add(series[late], ts_us[late], value[late], offset[late])
        self.counters.late += late_rows
        self.counters.readings += len(series) - late_rows

    def _refuse(self, rows: Decoded, i: int, reason: Reason, offset: int, append_us: int) -> None:
        config = self._config
        beyond_s = (int(rows.ts_us[i]) - append_us) / 1e6
        detail = {
            Reason.AHEAD_OF_CLOCK: f"ts: expected at most {config.max_ahead_s:g} s after the event's arrival, "
            f"got {beyond_s:.3f} s after it: check the device's clock",
            Reason.TOO_MANY_DEVICES: f"this partition already knows {config.max_devices} devices "
            "(setting max_devices)",
            Reason.TOO_MANY_SERIES: f"this partition already knows {config.max_series} pairs of device and sensor "
            "(setting max_series)",
            Reason.TOO_MANY_READINGS: f"open windows already hold {config.max_open_readings} readings "
            "(setting max_open_readings)",
        }[reason]
        body = {
            "device": rows.device[i],
            "sensor": rows.sensor[i],
            "ts": int(rows.ts_us[i]) / 1e6,
            "value": float(rows.value[i]),
        }
        self._set_aside(offset, int(rows.item[i]), reason, detail, msgspec.json.encode(body).decode())

    def _set_aside(self, offset: int, item: int, reason: Reason, detail: str, body: str) -> None:
        self.counters.dead_lettered += 1
        self._archive.set_aside(
            DeadLetter(
                hub=self._config.hub,
                partition=self._number,
                offset=offset,
                item=item,
                reason=reason,
                detail=detail,
                body=body[:MAX_BODY_CHARS],
            )
        )

    def _apply_forced(self, through_offset: int) -> None:
        for offset in sorted(at for at in self._forced if at <= through_offset):
            for device, through_us in self._forced.pop(offset):
                [number] = self._series.device_ids([device]).tolist()
                if number != UNKNOWN:
                    self._windows.force_through(number, through_us)

    def _note_closable(self) -> None:
        if self._closable_since is None and self._windows.closable():
            self._closable_since = time.monotonic()
            self._closed_at = self._closed_at or self._clock.now()

    # ------------------------------------------------------------------ store

    def hand_over_due(self, *, caught_up: bool = False) -> bool:
        """Whether closed windows have waited long enough, or a batch is waiting after an error.

        `caught_up`: nothing more waits to be processed, so that the cost of collecting holds nothing up.
        """
        if self._pending is not None:
            return True
        if self._closable_since is None:
            return False
        cost_s = 0.0 if caught_up else _COLLECT_SHARE * self._collect_cost_s
        wait_s = max(self._config.batch_max_age_s, cost_s)
        return time.monotonic() - self._closable_since >= wait_s

    def archive_due(self) -> bool:
        """Whether so much waits for the archive that it should not wait for the checkpoint."""
        return self._archive.full(self._config.archive_max_rows)

    @property
    def unsettled(self) -> bool:
        """Whether a store that forgets its latest writes could still forget the last checkpoint."""
        return time.monotonic() - self._checkpointed_at < SETTLED_S

    def checkpoint_due(self, *, resting: bool = False) -> bool:
        """Whether a checkpoint is due: something happened since the last one, and enough time went by.

        `resting`: nothing has come for a while, so that what is done may as well be done for good now.
        """
        if self.next_offset == self.checkpoint_offset and self._next_seq == self._checkpoint_seq:
            return False
        if self.next_offset <= self._adopted_through:
            return False
        interval_s = min(self._config.checkpoint_interval_s, REST_S if resting else float("inf"))
        wait_s = max(interval_s, _CHECKPOINT_SHARE * self._checkpoint_cost_s)
        return time.monotonic() - self._checkpointed_at >= wait_s

    def hand_over(self) -> None:
        """Write closed windows as the next batch and queue it; adopt what somebody else wrote first.

        Raises StorageRewound if the previous batch has vanished. After any error call it again: nothing is lost,
        and a batch that was written although the answer got lost is adopted like a rival's.
        """
        self._collect()
        while self._pending is not None:
            self._require_what_went_before()
            batch = WindowBatch(self._pending, through_offset=self.next_offset - 1, closed_at=self._closed_at)
            try:
                self._blobs.create(self._batch_name(self._next_seq), encode_batch(batch))
            except AlreadyExists:
                self._adopt_next()
                self._drop_adopted()
            else:
                self._announce(self._next_seq, len(self._pending))
                self._next_seq += 1
                self._pending = None
        self._closed_at = 0.0

    def checkpoint(self) -> None:
        """Hand over, archive, and store the state; then a restart reads from `next_offset`.

        Before the log has caught up with the adopted batches nothing is stored: the state would still hold
        windows that stand in them. Raises StorageRewound if a batch since the last checkpoint has vanished,
        Superseded if another worker has stored a checkpoint since: either way `restore`.
        """
        self.hand_over()
        if self.next_offset <= self._adopted_through:
            return
        self.archive()
        require(self._blobs, map(self._batch_name, range(self._checkpoint_seq, self._next_seq)))
        require(self._blobs, self._archive.segments)
        started = time.monotonic()
        data = encode_checkpoint(
            Checkpoint(
                offset=self.next_offset,
                next_seq=self._next_seq,
                archived=self._archive.first,
                append_us=self._append_us,
                counters=self.counters,
                series=self._series,
                windows=self._windows,
            )
        )
        metadata = {"offset": str(self.next_offset), "next_seq": str(self._next_seq)}
        if self._checkpoint_etag is None:
            info = self._blobs.create(self._checkpoint_name, data, metadata=metadata)
        else:
            info = self._blobs.replace(self._checkpoint_name, data, etag=self._checkpoint_etag, metadata=metadata)
        self._checkpoint_etag = info.etag
        self.checkpoint_offset, self._checkpoint_seq = self.next_offset, self._next_seq
        self._archive.segments.clear()
        self._checkpointed_at = time.monotonic()
        self._checkpoint_cost_s = self._checkpointed_at - started
        self.checkpoint_s += self._checkpoint_cost_s

    def archive(self) -> None:
        """Write what was read into the archive. Raises as `checkpoint` does; repeating it is harmless."""
        started = time.monotonic()
        if self._archive.first >= self.next_offset:
            pass  # All of it stands there.
        elif self._archive.segments:
            # Written after the checkpoint: where it stands, so does the checkpoint.
            require(self._blobs, self._archive.segments[-1:])
        else:
            self._require_own_checkpoint()
        self._archive.flush(self.next_offset - 1)
        self.archive_s += time.monotonic() - started

    def verify(self) -> None:
        """Raises Superseded if the last checkpoint is gone: the store lost it, and what was written with it."""
        self._require_own_checkpoint()

    def _collect(self) -> None:
        """Move closed windows into `_pending`, less those that stand in an adopted batch."""
        started = time.monotonic()
        closed = self._windows.take_closed(self._series.device_of)
        self._closable_since = None
        self._collect_cost_s = time.monotonic() - started
        if closed is None:
            return
        windows = self._named(closed)
        self.counters.windows += len(windows)
        duplicates = int(windows.duplicates.sum())
        self.counters.duplicates += duplicates
        self.counters.readings -= duplicates
        self._pending = windows if self._pending is None else self._pending.and_then(windows)
        self._drop_adopted()

    def _named(self, closed: ClosedWindows) -> Windows:
        device = [self._series.devices[number] for number in self._series.device_of[closed.series].tolist()]
        sensor = [self._series.sensors[number] for number in self._series.sensor_of[closed.series].tolist()]
        start = closed.start_us.tolist()
        order = sorted(range(len(device)), key=lambda i: (device[i], sensor[i], start[i]))
        features = closed.features
        return Windows(
            device=[device[i] for i in order],
            sensor=[sensor[i] for i in order],
            start_us=closed.start_us[order],
            count=features.count[order],
            duplicates=features.duplicates[order],
            features=features.values[order],
            closed_by=[closed.closed_by[i].value for i in order],
            closed_offset=np.full(len(order), self.next_offset - 1, dtype=np.int64),
        )

    def _drop_adopted(self) -> None:
        """Leave out of `_pending` what stands in an adopted batch."""
        if self._pending is None or not self._adopted:
            return
        keys = _keys(self._pending)
        ours = [i for i, key in enumerate(keys) if key not in self._adopted]
        self._adopted.difference_update(keys)
        self._pending = self._pending.take(ours) if ours else None

    def _adopt_next(self) -> bool:
        """Take the next batch as written if it exists: its windows are closed for ever. Sends its message again."""
        seq = self._next_seq
        try:
            batch = decode_batch(self._blobs.get(self._batch_name(seq)).data)
        except NotFound:
            return False
        windows = batch.windows
        self._adopted_through = max(self._adopted_through, batch.through_offset)
        keys = _keys(windows)
        self._adopted.update(keys)
        for (device, _, start_us), closed_by, offset in zip(
            keys, windows.closed_by, windows.closed_offset.tolist(), strict=True
        ):
            if closed_by == ClosedBy.IDLE:
                self._forced.setdefault(offset, []).append((device, start_us + self._config.spec.size_us))
        self._apply_forced(self.next_offset - 1)
        self._announce(seq, len(windows))
        self._next_seq = seq + 1
        return True

    def _announce(self, seq: int, rows: int) -> None:
        self.counters.batches += 1
        message = BatchMessage(
            hub=self._config.hub,
            spec=self._config.spec.name,
            partition=self._number,
            seq=seq,
            blob=self._batch_name(seq),
            rows=rows,
        )
        self._queue.send(msgspec.json.encode(message))

    def _require_what_went_before(self) -> None:
        """Look whether the store still has what this worker wrote last.

        Only what is young is looked for: older batches may have been removed on purpose.
        """
        if self._next_seq > self._checkpoint_seq:
            require(self._blobs, [self._batch_name(self._next_seq - 1)])
        else:
            self._require_own_checkpoint()

    def _require_own_checkpoint(self) -> None:
        """Raises Superseded unless the stored checkpoint is the one this worker read or wrote last."""
        stored = self._blobs.head(self._checkpoint_name)
        if (stored.etag if stored else None) != self._checkpoint_etag:
            raise Superseded(f"checkpoint {self._checkpoint_name} is not the one this worker knows")

    def _batch_name(self, seq: int) -> str:
        return names.batch_blob(self._config.hub, self._config.spec, self._number, seq)

    @property
    def _checkpoint_name(self) -> str:
        return names.checkpoint_blob(self._config.hub, self._config.spec, self._number)

    # ------------------------------------------------------------------ look

    def status(self) -> dict[str, int | None]:
        """Counts and clocks for people; times are epoch microseconds."""
        closed = self._windows.closed_us()[: self._windows.devices.size]
        known = closed[closed > 0]
        return {
            **msgspec.to_builtins(self.counters),
            "offset": self.next_offset,
            "checkpoint_offset": self.checkpoint_offset,
            "next_seq": self._next_seq,
            "devices": len(self._series.devices),
            "open_readings": self._windows.readings,
            "archive_ms": round(self.archive_s * 1000),
            "checkpoint_ms": round(self.checkpoint_s * 1000),
            "watermark_min": int(known.min()) if len(known) else None,
            "watermark_max": int(known.max()) if len(known) else None,
        }


def _keys(windows: Windows) -> list[Key]:
    return list(zip(windows.device, windows.sensor, windows.start_us.tolist(), strict=True))
