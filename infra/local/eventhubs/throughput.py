"""Throughput units, simulated: how long a client is told to wait once the namespace's rate is used up.

One unit takes 1 MB or 1,000 events a second in, whichever comes first, and gives 2 MB or 4,096 events a second out.
https://learn.microsoft.com/azure/event-hubs/event-hubs-scalability#throughput-units
"""

from __future__ import annotations

_MB = 1024 * 1024


class Rate:
    """A rate of bytes and events per second, with one second's worth in reserve."""

    def __init__(self, bytes_per_s: float, events_per_s: float) -> None:
        self._per_s = (bytes_per_s, events_per_s)
        self._left = [bytes_per_s, events_per_s]
        self._seen = 0.0

    def take(self, size_bytes: int, events: int, now: float) -> float:
        """Use up this much at `now` (seconds); returns for how many seconds to wait before the next."""
        passed, self._seen = max(0.0, now - self._seen), now
        for index, used in enumerate((size_bytes, events)):
            per_s = self._per_s[index]
            self._left[index] = min(per_s, self._left[index] + passed * per_s) - used
        return max(0.0, *(-left / per_s for left, per_s in zip(self._left, self._per_s, strict=True)))

    def owed_s(self, now: float) -> float:
        """For how many seconds nothing more should come, because too much has come already."""
        return self.take(0, 0, now)


class Throughput:
    """What a namespace of so many units takes in and gives out."""

    def __init__(self, units: int) -> None:
        self.ingress = Rate(units * _MB, units * 1000)
        self.egress = Rate(units * 2 * _MB, units * 4096)
