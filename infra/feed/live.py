"""Simulated devices in real time: sends what they have measured since the last call."""

import asyncio
import time
from collections.abc import Sequence

from infra.feed.events import MAX_READINGS_PER_EVENT, encode_event
from infra.feed.replay import EventSender, Place
from infra.simulation import Fault, Fleet

_MAX_IN_FLIGHT = 2000


class LiveFeed:
    """Readings of `fleet` from event time `start_us` on; what lies in the past is caught up with at once."""

    def __init__(self, fleet: Fleet, sender: EventSender, *, start_us: int, faults: Sequence[Fault] = ()) -> None:
        self._fleet, self._sender = fleet, sender
        self.faults = list(faults)
        self.sent_until_us = start_us
        """Event time before which everything is sent."""
        self.readings = 0
        self._in_flight: list[asyncio.Future[Place]] = []

    async def send_due(self, *, until_us: int | None = None) -> None:
        """Send all readings up to now, and before `until_us`: one event per device, more after a pause."""
        end_us = min(time.time_ns() // 1000, until_us if until_us is not None else 2**62)
        if end_us <= self.sent_until_us:
            return
        active = [fault for fault in self.faults if fault.end_us > self.sent_until_us and fault.start_us < end_us]
        for device in self._fleet.devices:
            samples = self._fleet.samples(device, self.sent_until_us, end_us, active)
            for start in range(0, len(samples), MAX_READINGS_PER_EVENT):
                part = slice(start, start + MAX_READINGS_PER_EVENT)
                body = encode_event(device, samples.sensor[part], samples.ts_us[part], samples.value[part])
                self._in_flight.append(await self._sender.send(device, body))
            self.readings += len(samples)
        self.sent_until_us = end_us
        if len(self._in_flight) > _MAX_IN_FLIGHT:
            await self.settle()
        self._in_flight = [future for future in self._in_flight if not _stored(future)]

    async def settle(self) -> None:
        """Return when the hub has stored everything sent so far. Raises TryLater when it does not."""
        await asyncio.gather(*self._in_flight)
        self._in_flight.clear()


def _stored(future: "asyncio.Future[Place]") -> bool:
    """Whether the event is stored; raises what went wrong with it."""
    if not future.done():
        return False
    future.result()
    return True
