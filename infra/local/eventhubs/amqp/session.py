"""One session: its links by handle, and the transfer window."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from . import performatives as wire
from .errors import (
    HANDLE_IN_USE,
    RESOURCE_LIMIT,
    UNATTACHED_HANDLE,
    LinkRefused,
    SessionFailed,
)
from .links import Attach, InboundLink, Link, OutboundLink, refused
from .nodes import open_link
from .performatives import Performative
from .values import UInt, UShort

if TYPE_CHECKING:
    from .connection import Connection

_INCOMING_WINDOW = 2**31 - 1
"""Transfers are stored as they come: links limit what may be under way, the session need not."""
_MAX_HANDLE = 255
_SEQUENCE = 2**32
_FLOW_NEXT_INCOMING, _FLOW_WINDOW, _FLOW_NEXT_OUTGOING, _FLOW_HANDLE, _FLOW_ECHO = 0, 1, 2, 4, 9


class Session:
    """The server's half of a session; it answers the client's begin on the same channel."""

    def __init__(self, connection: Connection, channel: int, begin: Performative) -> None:
        self.connection = connection
        self.channel = channel
        self.links: dict[int, Link] = {}
        self._detached: set[int] = set()
        self._over = False
        self._next_incoming = begin.required(1, int)
        self._remote_window = begin.required(2, int)
        self._next_outgoing = 0
        self._next_delivery = 0
        self._waiting: deque[tuple[int, bytes]] = deque()
        """Transfers the window keeps back, each with its handle."""
        self._send(
            wire.write(
                wire.BEGIN,
                UShort(channel),
                UInt(0),
                UInt(_INCOMING_WINDOW),
                UInt(_INCOMING_WINDOW),
                UInt(_MAX_HANDLE),
            )
        )

    def _send(self, body: bytes) -> None:
        # A delivery may become durable, and want to be settled, after its session has ended.
        if not self._over:
            self.connection.send(self.channel, body)

    def receive(self, performative: Performative, body: bytes) -> None:
        """Handle a frame of this session; SessionFailed ends it."""
        if performative.code == wire.ATTACH:
            self._on_attach(Attach.read(performative, body))
        elif performative.code == wire.DETACH:
            self._on_detach(performative.required(0, int))
        elif performative.code == wire.FLOW:
            self._on_flow(performative)
        elif performative.code == wire.TRANSFER:
            self._on_transfer(performative)
        # A disposition of a receiver changes nothing here: events stay in the log whatever became of them.

    def _on_attach(self, attach: Attach) -> None:
        if attach.handle in self.links:
            raise SessionFailed(HANDLE_IN_USE, f"handle {attach.handle} is in use")
        if attach.handle > _MAX_HANDLE:
            raise SessionFailed(RESOURCE_LIMIT, f"handles go up to {_MAX_HANDLE}")
        self._detached.discard(attach.handle)
        try:
            link = open_link(self, attach)
        except LinkRefused as error:
            self._send(refused(attach))
            self._send_detach(attach.handle, error)
            return
        self.links[attach.handle] = link
        self._send(link.attach_reply())
        link.begin()

    def _send_detach(self, handle: int, error: LinkRefused | None) -> None:
        self._detached.add(handle)
        self._send(wire.write(wire.DETACH, UInt(handle), True, None if error is None else wire.error_value(error)))

    def _on_detach(self, handle: int) -> None:
        self.detach(handle)
        if handle <= _MAX_HANDLE:
            self._detached.add(handle)

    def detach(self, handle: int, error: LinkRefused | None = None) -> None:
        """Close a link and tell the client."""
        link = self.links.pop(handle, None)
        if link is not None:
            link.abandon()
            self._waiting = deque(each for each in self._waiting if each[0] != handle)
            self._send_detach(handle, error)

    def _link(self, handle: int) -> Link | None:
        """The link, or None if the client cannot yet know that it is gone."""
        link = self.links.get(handle)
        if link is None and handle not in self._detached:
            raise SessionFailed(UNATTACHED_HANDLE, f"handle {handle} is not attached")
        return link

    def _on_flow(self, flow: Performative) -> None:
        next_incoming = flow.field(_FLOW_NEXT_INCOMING, int)
        seen = self._next_outgoing if next_incoming is None else next_incoming
        in_flight = (self._next_outgoing - seen) % _SEQUENCE
        self._remote_window = flow.required(_FLOW_WINDOW, int) - in_flight
        self._next_incoming = flow.required(_FLOW_NEXT_OUTGOING, int)
        self._send_waiting()
        handle = flow.field(_FLOW_HANDLE, int)
        if handle is not None:
            link = self._link(handle)
            if link is not None:
                link.on_flow(flow)
        elif flow.fields[_FLOW_ECHO] is True:
            self.send_flow()
        for each in self.links.values():
            each.wake()  # the window is that of all links

    def _on_transfer(self, transfer: Performative) -> None:
        self._next_incoming = (self._next_incoming + 1) % _SEQUENCE
        link = self._link(transfer.required(0, int))
        if link is None:
            return
        if not isinstance(link, InboundLink):
            raise SessionFailed(UNATTACHED_HANDLE, "a receiver cannot transfer")
        try:
            link.on_transfer(transfer)
        except LinkRefused as error:
            self.detach(link.handle, error)

    def send_flow(self, *link_fields: object) -> None:
        """Tell the client the session's state, and a link's: handle, delivery-count, credit, and so on."""
        self._send(
            wire.write(
                wire.FLOW,
                UInt(self._next_incoming),
                UInt(_INCOMING_WINDOW),
                UInt(self._next_outgoing),
                UInt(_INCOMING_WINDOW),
                *link_fields,
            )
        )

    def send_disposition(self, delivery_id: int, state: object) -> None:
        """Settle a delivery of the client."""
        self._send(wire.write(wire.DISPOSITION, True, UInt(delivery_id), UInt(delivery_id), True, state))

    def take_delivery_id(self) -> int:
        """The next one of the server's."""
        delivery_id = self._next_delivery
        self._next_delivery = (delivery_id + 1) % _SEQUENCE
        return delivery_id

    @property
    def blocked(self) -> bool:
        """Whether the client's window keeps transfers back."""
        return bool(self._waiting) or self._remote_window <= 0

    def send_transfers(self, handle: int, frames: list[bytes]) -> None:
        """Send a link's whole transfer frames, as far as the client's window allows, the rest later."""
        self._waiting.extend((handle, each) for each in frames)
        self._send_waiting()

    def _send_waiting(self) -> None:
        count = min(len(self._waiting), max(0, self._remote_window))
        if count:
            self._remote_window -= count
            self._next_outgoing = (self._next_outgoing + count) % _SEQUENCE
            self.connection.write(b"".join([self._waiting.popleft()[1] for _ in range(count)]))

    def check_access(self) -> None:
        """Detach the links whose token has expired."""
        for link in tuple(self.links.values()):
            refusal = link.access_refusal()
            if refusal is not None:
                self.detach(link.handle, refusal)

    def outbound(self, node: str, reply_to: str | None) -> OutboundLink | None:
        """The link that answers of a node go to."""
        links = [link for link in self.links.values() if isinstance(link, OutboundLink) and link.node == node]
        named = [link for link in links if reply_to is not None and link.target_address == reply_to]
        return next(iter(named or links), None)

    def abandon(self) -> None:
        """The session is over: free what its links hold."""
        self._over = True
        links = tuple(self.links.values())
        self.links.clear()
        for link in links:
            link.abandon()
