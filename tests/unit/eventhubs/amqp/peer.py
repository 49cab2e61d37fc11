"""A client in memory: it writes frames by hand and reads the server's with the SDK's decoder, by position."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from azure.eventhub._pyamqp._decode import decode_frame

from infra.local.eventhubs.amqp import performatives as wire
from infra.local.eventhubs.amqp.connection import Connection, Endpoint
from infra.local.eventhubs.amqp.frames import AMQP_HEADER, frame
from infra.local.eventhubs.amqp.values import Described, Symbol, UByte, UInt, ULong, UShort
from infra.local.eventhubs.hub import Hub

SELECTOR = Symbol("apache.org:selector-filter:string")


class Seen(NamedTuple):
    """A frame of the server. `fields` as the SDK sees them; a transfer has its payload at index 11."""

    channel: int
    code: int
    fields: list[Any]


class Peer:
    """Both ends of a connection: what the server writes is kept until `frames` takes it."""

    def __init__(self, hub: Hub, **endpoint: Any) -> None:
        self.output = bytearray()
        self.now = 0.0
        self.connection = Connection(Endpoint(hub, **endpoint), self, self.now)

    def write(self, data: bytes) -> None:
        self.output += data

    async def drain(self) -> None:
        return None

    def give(self, data: bytes) -> None:
        self.connection.receive(data, self.now)

    def send(self, code: int, *fields: object, channel: int = 1, payload: bytes = b"") -> None:
        self.give(frame(channel, wire.write(code, *fields) + payload))

    def take(self) -> bytes:
        data = bytes(self.output)
        self.output.clear()
        return data

    def frames(self) -> list[Seen]:
        data, seen = self.take(), []
        while data:
            size, offset, _, channel = struct.unpack_from(">IBBH", data)
            assert (offset, size <= len(data)) == (2, True)
            if size > 8:
                code, fields = decode_frame(memoryview(data[8:size]))
                seen.append(Seen(channel, code, fields))
            data = data[size:]
        return seen

    def codes(self) -> list[int]:
        return [seen.code for seen in self.frames()]

    def open(self, max_frame_bytes: int | None = None, idle_ms: int | None = None) -> list[Seen]:
        self.give(AMQP_HEADER)
        assert self.take() == AMQP_HEADER
        size = None if max_frame_bytes is None else UInt(max_frame_bytes)
        self.send(wire.OPEN, "client", None, size, UShort(100), None if idle_ms is None else UInt(idle_ms), channel=0)
        return self.frames()

    def begin(self, window: int = 1000, channel: int = 1) -> list[Seen]:
        self.send(wire.BEGIN, None, UInt(0), UInt(window), UInt(1000), channel=channel)
        return self.frames()

    def attach_sender(self, address: str, handle: int = 0) -> None:
        self._attach(handle, False, None, Described(ULong(0x29), [address]))

    def attach_receiver(
        self, address: str, selector: str | None = None, handle: int = 0, properties: Any = None, target: str = "me"
    ) -> None:
        filters = None if selector is None else {SELECTOR: Described(SELECTOR, selector)}
        source = Described(ULong(0x28), [address, None, None, None, None, None, None, filters])
        self._attach(handle, True, source, Described(ULong(0x29), [target]), properties)

    def _attach(self, handle: int, role: bool, source: Any, target: Any, properties: Any = None) -> None:
        count = None if role else UInt(0)
        self.send(
            wire.ATTACH,
            f"link-{handle}",
            UInt(handle),
            role,
            UByte(2),
            UByte(0),
            source or Described(ULong(0x28), ["client"]),
            target,
            None,
            None,
            count,
            None,
            None,
            None,
            properties,
        )

    def transfer(
        self,
        payload: bytes,
        delivery_id: int = 0,
        handle: int = 0,
        message_format: int | None = 0,
        more: bool = False,
        first: bool = True,
    ) -> None:
        self.send(
            wire.TRANSFER,
            UInt(handle),
            UInt(delivery_id) if first else None,
            b"tag" if first else None,
            None if message_format is None else UInt(message_format),
            False,
            more,
            payload=payload,
        )

    def flow(self, credit: int, handle: int = 0, delivery_count: int = 0, **options: Any) -> None:
        """Options: `drain`, `echo`, `window`, `next_incoming`."""
        self.send(
            wire.FLOW,
            UInt(options.get("next_incoming", 0)),
            UInt(options.get("window", 1000)),
            UInt(0),
            UInt(1000),
            UInt(handle),
            UInt(delivery_count),
            UInt(credit),
            None,
            options.get("drain", False),
            options.get("echo", False),
        )
