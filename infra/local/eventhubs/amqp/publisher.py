"""Senders to a hub or to one of its partitions."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from ..errors import HubError, StorageFailed
from ..log.partition import Appended, PartitionLog
from .addresses import SendTo
from .decoding import DecodeError
from .errors import DECODE_ERROR, SERVER_BUSY, UNAUTHORIZED, DeliveryRefused, LinkRefused, refusal
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
            self._refuse_when_busy()
            log, appended = self._append(delivery)
        except DeliveryRefused as error:
            self.reject(delivery, error)
        except DecodeError as error:
            self.reject(delivery, DeliveryRefused(DECODE_ERROR, str(error)))
        except HubError as error:
            self._reject(delivery, error)
        else:
            if appended.ticket is None:
                self.accept(delivery)
            else:
                appended.ticket.then(lambda: self._settle(delivery, log, appended))

    def _refuse_when_busy(self) -> None:
        """What is over the throughput units is refused, as by Event Hubs: the client is to try again later.

        Holding back the settlement or the credit would slow only those clients that wait for them.
        """
        if self._hub.throughput is None:
            return
        wait_s = self._hub.throughput.ingress.owed_s(time.monotonic())
        if wait_s > 0:
            raise DeliveryRefused(
                SERVER_BUSY,
                f"The request was terminated because the namespace {self._hub.settings.namespace.name} is being "
                f"throttled. Error code : 50002. Please wait {wait_s:.1f} seconds and try again.",
            )

    def _append(self, delivery: Delivery) -> tuple[PartitionLog, Appended]:
        key, records = records_of(delivery.payload, delivery.message_format)
        partition = self._target.partition
        if partition is None:
            partitions = self._hub.catalogue.get(self._target.hub).partitions
            partition = self._placement.partition(key, partitions)
        log = self._hub.partition(self._target.hub, partition)
        now_ms = self._hub.clock_ms()
        batches = encode_batches(records, now_ms, self._hub.settings.log.max_batch_bytes)
        appended = [log.append(batch, now_ms) for batch in batches][-1]
        if self._hub.throughput is not None:
            self._hub.throughput.ingress.take(len(delivery.payload), len(records), time.monotonic())
        return log, appended

    def _settle(self, delivery: Delivery, log: PartitionLog, appended: Appended) -> None:
        """The flush is over; the session may be as well."""
        try:
            log.check_settled(appended)
        except HubError as error:
            self._reject(delivery, error)
        else:
            self.accept(delivery)

    def _reject(self, delivery: Delivery, error: HubError) -> None:
        if isinstance(error, StorageFailed):
            _log.error("a sender was refused: %s", error)
        self.reject(delivery, refusal(error))
