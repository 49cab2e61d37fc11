"""A Faust transport that delivers chunks: one Faust message per (partition, run of records).

Faust pays some 70 us per message before an agent sees it; here that is paid per chunk. Differences from
Faust's own aiokafka transport, from which everything else is inherited:

- `getmany` yields one message whose value is a `stream.decode.Chunk`; keys and headers are not delivered.
- Offsets are neither acknowledged by streams nor taken from the broker. The position of a partition comes from a
  `PositionKeeper` when it is assigned, and what is committed to the broker (for lag displays only) comes from it too.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import numpy as np
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from stream.decode import Chunk

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
    """Hands out aiokafka's own records instead of wrapping each in a ConsumerRecord, a third of the cost of reading.

    What is fetched already is told so; what arrives during the call comes wrapped: both have what is used here.
    """

    async def _fetch_records(self, consumer: Any, active_partitions: Any, **options: Any) -> Any:
        for result in consumer._fetcher._records.values():  # noqa: SLF001  # aiokafka offers no public way to it
            records = getattr(result, "_partition_records", None)
            if records is not None:
                records._consumer_record = _as_it_is  # noqa: SLF001  # as above
        return await super()._fetch_records(consumer, active_partitions, **options)


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
                self._thread._ensure_consumer().commit,  # noqa: SLF001  # Faust offers no public way to it
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
