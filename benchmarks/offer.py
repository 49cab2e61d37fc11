"""Sends events when they are due, and remembers when each left."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.fleet_load import Event, device_name
from infra.feed.events import encode_flush
from infra.feed.sender import Sender
from infra.settings import Settings


@dataclass
class Sent:
    """What was sent. Times are epoch seconds."""

    events: int = 0
    readings: int = 0
    behind_s: float = 0.0
    """The largest delay of the generator itself: a large one spoils what is measured."""
    until: float = 0.0
    """When the last reading left, on the monotonic clock."""
    left: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """By device: (time of the last reading in epoch microseconds, when the event left) of each event."""

    def closing(self, device: str, through_us: int) -> float | None:
        """When the event left that brought the device's first reading at `through_us` or later."""
        return next((left for last_us, left in self.left.get(device, ()) if last_us >= through_us), None)


async def offer(settings: Settings, events: Iterable[Event], *, flush: bool = False) -> Sent:
    """Send all events when due, then with `flush` a flush marker per device; return when the hub has stored all."""
    sent, in_flight = Sent(), []
    async with Sender(settings) as sender:
        for event in events:
            early_s = event.due_us / 1e6 - time.time()
            if early_s > 0:
                await asyncio.sleep(early_s)
            sent.behind_s = max(sent.behind_s, -early_s)
            device = device_name(event.number)
            sent.left.setdefault(device, []).append((event.due_us, time.time()))
            in_flight.append(await sender.send(device, event.body))
            sent.events += 1
            sent.readings += event.readings
        sent.until = time.monotonic()
        if flush:
            in_flight += [await sender.send(device, encode_flush(device)) for device in sent.left]
            sent.events += len(sent.left)
        await asyncio.gather(*in_flight)
    return sent
