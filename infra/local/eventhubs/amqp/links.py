"""Links: what a client attached, credit, and deliveries cut into frames."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from . import performatives as wire
from .encoding import NULL, encode
from .errors import MESSAGE_TOO_LARGE, UNATTACHED_HANDLE, DeliveryRefused, LinkRefused, SessionFailed
from .performatives import Performative
from .values import Array, Described, Symbol, UInt, ULong

if TYPE_CHECKING:
    from .session import Session

RUNTIME_METRIC = Symbol("com.microsoft:enable-receiver-runtime-metric")
"""Capability: tell with each event what the partition's last one is."""
_CREDIT = 1000
_NAME, _HANDLE, _ROLE, _SND_MODE, _RCV_MODE, _SOURCE, _TARGET = range(7)
_DESIRED, _PROPERTIES = 12, 13
_SETTLED_MODE_UNSETTLED = 0


@dataclass(frozen=True, slots=True)
class Attach:
    """A client's attach; `raw` are its fields as they came, to be echoed."""

    name: str
    handle: int
    client_receives: bool
    settle_mode: int
    source: list[object]
    target: list[object]
    desired_capabilities: tuple[object, ...]
    properties: dict[object, object]
    raw: list[bytes]

    @classmethod
    def read(cls, performative: Performative, body: bytes) -> Attach:
        """The attach of a frame."""
        raw = wire.raw_fields(body)
        desired = performative.fields[_DESIRED]
        mode = performative.field(_SND_MODE, int)
        return cls(
            performative.required(_NAME, str),
            performative.required(_HANDLE, int),
            performative.required(_ROLE, bool),
            2 if mode is None else mode,
            _terminus(performative, _SOURCE),
            _terminus(performative, _TARGET),
            tuple(desired) if isinstance(desired, list) else (desired,),
            performative.field(_PROPERTIES, dict) or {},
            raw + [NULL] * (_PROPERTIES + 1 - len(raw)),
        )

    @property
    def address(self) -> str:
        """The node the client wants: the source if it receives, else the target."""
        return _address(self.source if self.client_receives else self.target)

    @property
    def target_address(self) -> str:
        """Where a receiving client says its messages go: the name for answers to it."""
        return _address(self.target)


def _terminus(performative: Performative, index: int) -> list[object]:
    terminus = performative.field(index, Described)
    return terminus.value if terminus is not None and isinstance(terminus.value, list) else []


def _address(terminus: list[object]) -> str:
    return terminus[0] if terminus and isinstance(terminus[0], str) else ""


def _reply(attach: Attach, max_message_size: bytes) -> bytes:
    """The attach in return. Source and target are echoed: the Python SDK takes an empty one for an invalid link."""
    return wire.write_raw(
        wire.ATTACH,
        [
            *attach.raw[: _HANDLE + 1],
            encode(not attach.client_receives),
            *attach.raw[_SND_MODE : _TARGET + 1],
            NULL,
            NULL,
            encode(UInt(0) if attach.client_receives else None),
            max_message_size,
            encode(Array((RUNTIME_METRIC,))) if RUNTIME_METRIC in attach.desired_capabilities else NULL,
        ],
    )


def refused(attach: Attach) -> bytes:
    """The attach that comes before the detach of a link that is not made."""
    return _reply(attach, NULL)


class Link(abc.ABC):
    """A link the client attached. Handles are the client's own in both directions."""

    def __init__(self, session: Session, attach: Attach) -> None:
        self.session = session
        self.attach = attach
        self.handle = attach.handle

    def attach_reply(self) -> bytes:
        """The server's attach."""
        return _reply(self.attach, encode(ULong(self.session.connection.endpoint.max_message_bytes)))

    @abc.abstractmethod
    def begin(self) -> None:
        """The server's attach is sent: the link is there."""

    @abc.abstractmethod
    def on_flow(self, flow: Performative) -> None:
        """The client tells the link's state."""

    def wake(self) -> None:  # noqa: B027  # only links that send have something to do
        """The session's window may have opened."""

    def access_refusal(self) -> LinkRefused | None:
        """Why the link must not go on, or None."""
        return None

    def abandon(self) -> None:  # noqa: B027  # most links hold nothing
        """The link is gone: free what it holds. May be called again."""

    def disconnect(self, error: LinkRefused) -> None:
        """Detach the client, now."""
        self.session.detach(self.handle, error)


class Delivery(NamedTuple):
    """A whole message of the client. Settled ones want no answer."""

    id: int
    message_format: int
    payload: bytes
    settled: bool


class InboundLink(Link):
    """The client sends. Its credit is renewed before it runs out: a delivery is stored as soon as it is whole."""

    def __init__(self, session: Session, attach: Attach) -> None:
        super().__init__(session, attach)
        self._delivery_count = 0
        self._credit = _CREDIT
        self._first: Performative | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def begin(self) -> None:
        """Give the client credit."""
        self._send_flow()

    def on_flow(self, flow: Performative) -> None:
        """Answer when asked to."""
        if flow.fields[9] is True:
            self._send_flow()

    def _send_flow(self) -> None:
        self.session.send_flow(UInt(self.handle), UInt(self._delivery_count), UInt(self._credit))

    def on_transfer(self, transfer: Performative) -> None:
        """Gather a delivery, and hand it on when it is whole."""
        if self._first is None:
            if transfer.field(1, int) is None:
                raise SessionFailed(UNATTACHED_HANDLE, "a delivery begins with its id")
            self._first = transfer
        self._size += len(transfer.payload)
        too_large = self._size > self.session.connection.endpoint.max_message_bytes
        if too_large:
            self._parts.clear()
        else:
            self._parts.append(transfer.payload)
        if transfer.fields[5] is True and transfer.fields[9] is not True:
            return
        first, payload, size = self._first, b"".join(self._parts), self._size
        self._first, self._size = None, 0
        self._parts.clear()
        self._use_credit()
        if transfer.fields[9] is True:
            return
        delivery = Delivery(
            first.required(1, int),
            first.field(3, int) or 0,
            payload,
            first.fields[4] is True or transfer.fields[4] is True,
        )
        if too_large:
            self.reject(delivery, _too_large(size, self.session.connection.endpoint.max_message_bytes))
        else:
            self.deliver(delivery)

    def _use_credit(self) -> None:
        self._delivery_count = (self._delivery_count + 1) % 2**32
        self._credit -= 1
        if self._credit <= _CREDIT // 2:
            self._credit = _CREDIT
            self._send_flow()

    @abc.abstractmethod
    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery; it must be accepted or rejected later. LinkRefused detaches."""

    def accept(self, delivery: Delivery) -> None:
        """Tell the client that the delivery is safe."""
        if not delivery.settled:
            self.session.send_disposition(delivery.id, wire.ACCEPTED)

    def reject(self, delivery: Delivery, error: DeliveryRefused) -> None:
        """Tell the client that the delivery is not taken."""
        if not delivery.settled:
            self.session.send_disposition(delivery.id, wire.rejected(error))


def _too_large(size: int, limit: int) -> DeliveryRefused:
    return DeliveryRefused(
        MESSAGE_TOO_LARGE,
        f"The received message (size: {size} bytes) exceeds the limit ({limit} bytes) currently allowed on the link.",
    )


class OutboundLink(Link):
    """The client receives. Deliveries are sent settled unless it insists on settling them itself."""

    def __init__(self, session: Session, attach: Attach, node: str) -> None:
        super().__init__(session, attach)
        self.node = node
        self.target_address = attach.target_address
        self.credit = 0
        self._delivery_count = 0
        self._draining = False
        self._settled = attach.settle_mode != _SETTLED_MODE_UNSETTLED

    def begin(self) -> None:
        """Wait for the client's credit."""

    def on_flow(self, flow: Performative) -> None:
        """Note the client's credit."""
        count, credit = flow.field(5, int), flow.field(6, int)
        if credit is not None:
            in_flight = 0 if count is None else (self._delivery_count - count) % 2**32
            self.credit = max(0, credit - in_flight)
        self._draining = flow.fields[8] is True
        if flow.fields[9] is True:
            self._send_flow()
        self.wake()

    def _send_flow(self) -> None:
        self.session.send_flow(UInt(self.handle), UInt(self._delivery_count), UInt(self.credit), None, self._draining)

    def finish_drain(self) -> None:
        """There is nothing more to send: give back the credit if the client asked for that."""
        if self._draining:
            self._delivery_count = (self._delivery_count + self.credit) % 2**32
            self.credit = 0
            self._send_flow()
            self._draining = False

    def send(self, messages: list[bytes]) -> None:
        """Send messages, for which there must be credit."""
        limit = self.session.connection.remote_max_frame_bytes - wire.TRANSFER_FRAME_BYTES
        channel, handle, settled = self.session.channel, self.handle, self._settled
        frames = []
        for message in messages:
            delivery_id = self.session.take_delivery_id()
            for start in range(0, len(message), limit):
                more = start + limit < len(message)
                part = message[start : start + limit]
                frames.append(wire.transfer_frame(channel, handle, delivery_id, part, settled=settled, more=more))
        self._delivery_count = (self._delivery_count + len(messages)) % 2**32
        self.credit -= len(messages)
        self.session.send_transfers(handle, frames)
