"""Senders to a hub or to one of its partitions."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from ..errors import HubError, StorageFailed
from ..log.partition import Appended, PartitionLog
from .addresses import SendTo
from .decoding import DecodeError
from .errors import DECODE_ERROR, UNAUTHORIZED, DeliveryRefused, LinkRefused, refusal
from .links import Attach, Delivery, InboundLink
from .mapping import records_of
from .placement import Placement
from .records import encode_batches

if TYPE_CHECKING:
    from .session import Session

_log = logging.getLogger(__name__)


class Publisher(InboundLink):
    """Stores each delivery at once, as one record batch whenever that fits, and settles it after the log has."""

    def __init__(self, session: Session, attach: Attach, target: SendTo) -> None:
        super().__init__(session, attach)
        self._hub = session.connection.endpoint.hub
        self._target = target
        self._placement = Placement()
        self._waiting: set[asyncio.Task[None]] = set()

    def access_refusal(self) -> LinkRefused | None:
        """Whether the client may send."""
        reason = self.session.connection.access.refusal(self._target.path, "send")
        return None if reason is None else LinkRefused(UNAUTHORIZED, reason)

    def deliver(self, delivery: Delivery) -> None:
        """Append now, in the order of arrival; settle later."""
        refused = self.access_refusal()
        if refused is not None:
            raise refused
        try:
            log, appended, wait_s = self._append(delivery)
        except DecodeError as error:
            self.reject(delivery, DeliveryRefused(DECODE_ERROR, str(error)))
        except HubError as error:
            self._reject(delivery, error)
        else:
            if appended.ticket is None and not wait_s:
                self.accept(delivery)
            else:
                task = asyncio.get_running_loop().create_task(self._settle(delivery, log, appended, wait_s))
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)

    def _append(self, delivery: Delivery) -> tuple[PartitionLog, Appended, float]:
        """Where the events lie, and for how many seconds throughput units keep their sender waiting."""
        key, records = records_of(delivery.payload, delivery.message_format)
        partition = self._target.partition
        if partition is None:
            partitions = self._hub.catalogue.get(self._target.hub).partitions
            partition = self._placement.partition(key, partitions)
        log = self._hub.partition(self._target.hub, partition)
        now_ms = self._hub.clock_ms()
        batches = encode_batches(records, now_ms, self._hub.settings.log.max_batch_bytes)
        appended = [log.append(batch, now_ms) for batch in batches][-1]
        throughput = self._hub.throughput
        if throughput is None:
            return log, appended, 0.0
        return log, appended, throughput.ingress.take(len(delivery.payload), len(records), time.monotonic())

    async def _settle(self, delivery: Delivery, log: PartitionLog, appended: Appended, wait_s: float) -> None:
        if wait_s:
            await asyncio.sleep(wait_s)
        try:
            await log.settled(appended)
        except HubError as error:
            self._reject(delivery, error)
        else:
            self.accept(delivery)

    def _reject(self, delivery: Delivery, error: HubError) -> None:
        if isinstance(error, StorageFailed):
            _log.error("a sender was refused: %s", error)
        self.reject(delivery, refusal(error))
