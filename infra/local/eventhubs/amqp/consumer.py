"""Receivers of a partition."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from ..errors import UnknownTopic
from ..log.partition import PartitionLog
from .addresses import ReceiveFrom, Start
from .errors import ARGUMENT_ERROR, DECODE_ERROR, INTERNAL_ERROR, NOT_FOUND, UNAUTHORIZED, LinkRefused
from .links import RUNTIME_METRIC, Attach, OutboundLink
from .mapping import delivery_annotations, message_of
from .records import MalformedRecords, StoredRecord, decode_batches
from .values import Timestamp

if TYPE_CHECKING:
    from .session import Session

_log = logging.getLogger(__name__)
_READ_BYTES = 256 * 1024
_MESSAGES_AT_ONCE = 200
_EPOCH = "com.microsoft:epoch"


def first_offset(log: PartitionLog, start: Start) -> int:
    """The offset a receiver begins at; LinkRefused if the partition has not come so far yet."""
    if start.by == "latest":
        return max(log.start_offset, log.high_watermark - start.inclusive)
    if start.by == "time":
        found = log.find_time(max(0, start.value if start.inclusive else start.value + 1))
        return log.high_watermark if found is None else found[0]
    offset = start.value if start.inclusive else start.value + 1
    if offset > log.end_offset:
        raise LinkRefused(
            ARGUMENT_ERROR,
            f"The supplied offset '{start.value}' is invalid. The last offset in the system is "
            f"'{log.end_offset - 1}'.",
        )
    return max(log.start_offset, offset)


class Consumer(OutboundLink):
    """Sends events in order while there is credit, and waits for new ones. It never skips one that is still kept."""

    def __init__(self, session: Session, attach: Attach, source: ReceiveFrom, start: Start) -> None:
        super().__init__(session, attach, attach.address)
        self._endpoint = session.connection.endpoint
        self._source = source
        epoch = attach.properties.get(_EPOCH)
        self.epoch = epoch if isinstance(epoch, int) else None
        self._with_metrics = RUNTIME_METRIC in attach.desired_capabilities
        self._log = self._endpoint.hub.partition(source.hub, source.partition)
        self._cursor = first_offset(self._log, start)
        self._pending: deque[StoredRecord] = deque()
        self._changed = asyncio.Event()
        self._endpoint.owners.enter(source, self)
        self._task: asyncio.Task[None] | None = None
        self._wait_s = 0.0
        """How long throughput units make the next events wait."""

    def access_refusal(self) -> LinkRefused | None:
        """Whether the client may receive."""
        reason = self.session.connection.access.refusal(self._source.path, "listen")
        return None if reason is None else LinkRefused(UNAUTHORIZED, reason)

    def begin(self) -> None:
        """Watch the partition."""
        self._log.watchers.add(self._changed.set)
        self._task = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        """There may be credit, or room in the window."""
        self._changed.set()

    def abandon(self) -> None:
        """Leave the partition to others."""
        self._log.watchers.discard(self._changed.set)
        self._endpoint.owners.leave(self._source, self)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while True:
                self._changed.clear()
                if self._send_some():
                    await self.session.connection.output.drain()
                    # At least once round the loop: many events must not keep it to themselves.
                    await asyncio.sleep(self._wait_s)
                else:
                    self.finish_drain()
                    await self._changed.wait()
        except LinkRefused as error:
            self.disconnect(error)
        except MalformedRecords as error:
            _log.error("%s/%d: %s", self._source.hub, self._source.partition, error)
            self.disconnect(LinkRefused(DECODE_ERROR, str(error)))
        except ConnectionError:
            self.abandon()  # the client has gone
        except Exception as error:
            # Without the task the link would be silent for ever: the client must know.
            _log.exception("%s/%d cannot be read", self._source.hub, self._source.partition)
            self.disconnect(LinkRefused(INTERNAL_ERROR, f"reading failed: {error}"))

    def _send_some(self) -> bool:
        """Send what credit and window allow; False if that is nothing."""
        if self.credit <= 0 or self.session.blocked:
            return False
        if not self._pending:
            self._read()
        count = min(self.credit, len(self._pending), _MESSAGES_AT_ONCE)
        if not count:
            return False
        metrics = self._metrics() if self._with_metrics else b""
        messages = [message_of(self._pending.popleft(), metrics) for _ in range(count)]
        self.send(messages)
        throughput = self._endpoint.hub.throughput
        if throughput is not None:
            self._wait_s = throughput.egress.take(sum(map(len, messages)), count, time.monotonic())
        return True

    def _read(self) -> None:
        self._check_partition()
        # Retention may have deleted what this receiver had not read.
        self._cursor = max(self._cursor, self._log.start_offset)
        while not self._pending and self._cursor < self._log.high_watermark:
            data = self._log.read(self._cursor, _READ_BYTES)
            if not data:
                return
            try:
                for batch in decode_batches(data):
                    self._pending.extend(each for each in batch.records if each.offset >= self._cursor)
                    self._cursor = max(self._cursor, batch.next_offset)
            except MalformedRecords:
                if not self._pending:  # what lies before the bad batch goes first
                    raise

    def _check_partition(self) -> None:
        try:
            if self._endpoint.hub.partition(self._source.hub, self._source.partition) is self._log:
                return
        except UnknownTopic:
            pass
        raise LinkRefused(NOT_FOUND, f"the hub {self._source.hub!r} was deleted")

    def _metrics(self) -> bytes:
        last = self._log.high_watermark - 1
        return delivery_annotations(
            {
                "last_enqueued_sequence_number": last,
                "last_enqueued_offset": str(last),
                "last_enqueued_time_utc": Timestamp(max(0, self._log.last_append_ms)),
                "runtime_info_retrieval_time_utc": Timestamp(self._endpoint.hub.clock_ms()),
            }
        )
