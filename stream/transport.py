"""A Faust transport that delivers chunks: one Faust message per (partition, run of records).

Faust pays some 70 us per message before an agent sees it; here that is paid per chunk. Differences from
Faust's own aiokafka transport, from which everything else is inherited:

- `getmany` yields one message whose value is a `stream.decode.Chunk`; keys and headers are not delivered.
- Offsets are neither acknowledged by streams nor taken from the broker. The position of a partition comes from a
  `PositionKeeper` when it is assigned, and what is committed to the broker (for lag displays only) comes from it too.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from stream.decode import Chunk, Unreadable

SCHEME = "chunks"

kafka_partition = driver.ensure_aiokafka_TP


class PositionKeeper(Protocol):
    """Who knows where to read on; the app sets it as `app.positions` before it starts."""

    async def assigned(self, partitions: set[TP]) -> Mapping[TP, int]:
        """Called at each assignment: the offset to read each partition from."""
        ...

    async def revoked(self, partitions: set[TP]) -> None:
        """Called before partitions go to another worker; they must not be touched afterwards."""
        ...

    def safe_offsets(self) -> Mapping[TP, int]:
        """Offsets that need not be read again, whatever happens."""
        ...


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # faust has no type stubs
    """Reads without wrapping each record in a ConsumerRecord, and past batches that cannot be read.

    The first saves a third of the cost of reading: what is fetched already is handed out as it is, what arrives
    during the call comes wrapped, and both have what is used here. The second keeps one batch with rubbish in it
    (the broker checks no more than its checksum) from stopping the worker for ever: its offsets come as Unreadable.
    """

    # ruff: noqa: SLF001  # aiokafka offers no public way to its buffers, Faust none to its consumer

    def __post_init__(self) -> None:
        super().__post_init__()
        self._unreadable: dict[Any, tuple[int, str]] = {}
        """By partition: the offset that cannot be read, and why."""

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        fetcher = consumer._fetcher
        for tp in list(self._unreadable):
            records = await self._up_to_unreadable(consumer, tp)
            if records:
                return {tp: records}
        active = set(active_partitions or consumer.assignment()) - set(self._unreadable)
        if not active:
            return {}
        for result in fetcher._records.values():
            buffered = getattr(result, "_partition_records", None)
            if buffered is not None:
                buffered._consumer_record = _as_it_is
        before = _positions(consumer, active)
        try:
            return await super()._fetch_records(consumer, active, timeout=timeout, max_records=max_records)
        except Exception as error:
            # Of two calls at once, one left over from before this process was frozen, the slower one finds the batch
            # gone that it was about to take off the list.
            taken = isinstance(error, KeyError) and error.args[:1] and error.args[0] in active
            if not (taken or self._note_unreadable(fetcher, error)):
                raise
            # What was taken from other partitions before the error is lost with it: read it again.
            for tp, position in _positions(consumer, active).items():
                if tp in before and position != before[tp]:
                    consumer.seek(tp, before[tp])
            return {}

    def _note_unreadable(self, fetcher: Any, error: Exception) -> bool:
        """Find the partition whose records could not be unpacked; false if the error is another one."""
        for tp, result in list(fetcher._records.items()):
            buffered = getattr(result, "_partition_records", None)
            unpacking = getattr(buffered, "_records_iterator", None)
            if buffered is not None and unpacking is not None and unpacking.gi_frame is None:
                reason = f"the batch cannot be read: {type(error).__name__}: {error}"
                self._unreadable[tp] = (buffered.next_fetch_offset, reason)
                # The position has not moved: what stands before the bad offset is fetched again.
                del fetcher._records[tp]
                fetcher._notify(fetcher._wait_consume_future)
                return True
        return False

    async def _up_to_unreadable(self, consumer: Any, tp: Any) -> list[Any]:
        """What stands before the bad offset, or in its turn the offset itself."""
        if tp not in consumer.assignment():
            del self._unreadable[tp]
            return []
        offset, reason = self._unreadable[tp]
        position = await consumer.position(tp)
        if position < offset:
            found = await super()._fetch_records(consumer, {tp}, timeout=0.5, max_records=offset - position)
            return list(found.get(tp, []))
        del self._unreadable[tp]
        if position > offset:
            return []
        self.log.warning("%s, offset %d: %s", tp, offset, reason)
        consumer.seek(tp, offset + 1)
        return [_UnreadableRecord(offset, Unreadable(reason))]


@dataclass(frozen=True, slots=True)
class _UnreadableRecord:
    """Stands in for a record; its time says nothing and closes nothing."""

    offset: int
    value: Unreadable
    timestamp: int = 0
    timestamp_type: int = 1


def _positions(consumer: Any, partitions: set[Any]) -> dict[Any, int]:
    """The next offset to read of each partition that has one."""
    subscription = consumer._subscription.subscription
    assignment = subscription.assignment if subscription else None
    if assignment is None:
        return {}
    states = {tp: assignment.state_value(tp) for tp in partitions if tp in assignment.tps}
    return {tp: state.position for tp, state in states.items() if state.has_valid_position}


def _as_it_is(tp: TP, record: Any) -> Any:
    return record


class Consumer(driver.Consumer):  # type: ignore[misc]  # faust has no type stubs
    """Delivers chunks and asks the PositionKeeper for positions."""

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One message per partition with new records, in offset order within a partition.

        Records fetched while a rebalance stops the flow are dropped: the next assignment seeks again.
        """
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        for tp, batch in records.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            if batch and (active is None or tp in active or tp in self._buffered_partitions):
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                yield tp, self._chunk_message(tp, batch)

    def _chunk_message(self, tp: TP, records: list[Any]) -> ConsumerMessage:
        chunk = Chunk(
            offset=np.fromiter((r.offset for r in records), dtype=np.int64, count=len(records)),
            append_us=np.fromiter((r.timestamp for r in records), dtype=np.int64, count=len(records)) * 1000,
            body=[r.value for r in records],
        )
        first = records[0]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            first.offset,
            first.timestamp / 1000.0,
            first.timestamp_type,
            None,
            None,
            chunk,
            None,
            tp=TP(tp.topic, tp.partition),
            generation_id=self.app.consumer_generation_id,
        )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: a chunk is one message, so message offsets jump by design."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: the status page shows positions and lag; Faust would look for acknowledgements."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek all assigned partitions to where the PositionKeeper says."""
        assigned = {TP(tp.topic, tp.partition) for tp in self.assignment()}
        offsets: Mapping[TP, int] = await self.app.positions.assigned(assigned)
        for tp, offset in offsets.items():
            self._thread.seek(kafka_partition(tp), offset)
        return offsets

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the PositionKeeper finish with the partitions, then go on as Faust does."""
        await self.app.positions.revoked({TP(tp.topic, tp.partition) for tp in revoked})
        await super().on_partitions_revoked(revoked)

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit the safe offsets that moved. A failure is only logged: nobody reads from committed offsets."""
        del topics, start_new_transaction
        assigned = self.assignment()
        moved = {
            tp: offset
            for tp, offset in self.app.positions.safe_offsets().items()
            if tp in assigned and offset != self._committed_offset.get(tp)
        }
        if not moved or self.app.rebalancing:
            return False
        try:
            await self._thread.call_thread(
                self._thread._ensure_consumer().commit,
                {kafka_partition(tp): OffsetAndMetadata(offset, "") for tp, offset in moved.items()},
            )
        except Exception as error:
            self.log.warning("offsets could not be committed for lag displays: %s", error)
            return False
        self._committed_offset.update(moved)
        self.app.monitor.on_tp_commit(moved)
        return True


class Transport(driver.Transport):  # type: ignore[misc]  # faust has no type stubs
    """Faust transport for broker URLs `chunks://host:port`."""

    Consumer = Consumer


TRANSPORTS.aliases[SCHEME] = "stream.transport:Transport"
