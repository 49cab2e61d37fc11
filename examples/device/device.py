"""A device that loses nothing: what it measures waits on disk until the hub has it. Needs azure-eventhub only.

    python device.py press-1 --buffer press-1.sqlite < readings

Standard input has one `sensor,ts,value` line per reading, ts in epoch seconds, without a header. The environment
names the hub: EVENTHUB_CONNECTION_STRING, with its EntityPath. At the end of input, and on SIGTERM or Ctrl-C, what
waits is sent, then a flush marker. Exit code 1: the hub did not answer; the rest is kept for the next start.
"""

import argparse
import json
import math
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub.exceptions import EventHubError

READINGS_PER_EVENT = 1000
GATHER_S = 0.5  # readings of so long travel in one event
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
SEND_TIMEOUT_S = 10.0
GRACE_S = 10.0  # for what waits when the device is told to stop


class Buffer:
    """Readings that the hub does not have yet, oldest first, in an SQLite file that survives a power cut.

    When it holds `limit` readings, the oldest make room. Threads may share it.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.execute("CREATE TABLE IF NOT EXISTS readings (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT)")

    def add(self, bodies: list[str]) -> int:
        """Keep the readings, on disk when this returns; how many older ones were lost for want of room."""
        with self._lock, self._db:
            self._db.executemany("INSERT INTO readings (body) VALUES (?)", [(body,) for body in bodies])
            # Ids are without gaps, since only the oldest are ever deleted.
            oldest = self._db.execute("SELECT max(id) FROM readings").fetchone()[0] - self._limit
            return self._db.execute("DELETE FROM readings WHERE id <= ?", (oldest,)).rowcount

    def oldest(self, count: int) -> list[tuple[int, str]]:
        """Up to `count` readings with their ids."""
        with self._lock:
            return self._db.execute("SELECT id, body FROM readings ORDER BY id LIMIT ?", (count,)).fetchall()

    def forget(self, last_id: int) -> None:
        """Delete what the hub has."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM readings WHERE id <= ?", (last_id,))


class Hub:
    """Sends events of one device, one by one; connects when needed."""

    def __init__(self, connection: str, device: str) -> None:
        self._connection, self._device = connection, device
        self._client: EventHubProducerClient | None = None

    def send(self, body: str) -> None:
        """Return when the hub has stored the event. Raises when it may not have; it may all the same."""
        if self._client is None:
            self._client = EventHubProducerClient.from_connection_string(self._connection, retry_total=0)
        try:
            # The partition key keeps the device's events on one partition, in order.
            batch = self._client.create_batch(partition_key=self._device)
            batch.add(EventData(body))
            self._client.send_batch(batch, timeout=SEND_TIMEOUT_S)
        except (EventHubError, OSError):
            self.close()
            raise

    def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            self._client.close()
            self._client = None


class Device:
    """Reads and sends at the same time, until the input ends or `stop` is called."""

    def __init__(self, name: str, buffer: Buffer, hub: Hub) -> None:
        self._name, self._buffer, self._hub = name, buffer, hub
        self._ending = threading.Event()
        self._give_up_at = math.inf

    def stop(self) -> None:
        """Send what waits, for no longer than GRACE_S, and end."""
        self._give_up_at = time.monotonic() + GRACE_S
        self._ending.set()

    def measure(self, fd: int) -> None:
        """Buffer the readings of an open file until its end."""
        begun = b""
        while chunk := os.read(fd, 65536):
            *lines, begun = (begun + chunk).split(b"\n")
            if lost := self._buffer.add([body for line in lines if (body := self._reading(line))]):
                print(f"the buffer is full: {lost} readings are lost", file=sys.stderr)
        if body := self._reading(begun):
            self._buffer.add([body])
        self._ending.set()

    def _reading(self, line: bytes) -> str | None:
        try:
            sensor, ts, value = line.decode().split(",")
            return json.dumps({"device": self._name, "sensor": sensor, "ts": float(ts), "value": float(value)})
        except ValueError:
            if line.strip():
                print(f"not a reading: {line!r}", file=sys.stderr)
            return None

    def run(self, *, flush: bool) -> bool:
        """Whether the hub has everything, in the end. A reading may be sent twice; Penstock counts it once."""
        pause_s = FIRST_PAUSE_S
        while time.monotonic() < self._give_up_at:
            ending = self._ending.is_set()  # before looking: what was added until then is seen
            waiting = self._buffer.oldest(READINGS_PER_EVENT)
            try:
                if waiting:
                    self._hub.send("[" + ",".join(body for _, body in waiting) + "]")
                    self._buffer.forget(waiting[-1][0])
                elif ending:
                    if flush:
                        self._hub.send(json.dumps({"device": self._name, "flush": True}))
                    return True
                pause_s = FIRST_PAUSE_S
            except (EventHubError, OSError) as error:
                print(f"the hub does not answer: {error}", file=sys.stderr)
                self._wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  # a fleet is not to come back all at once
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            if len(waiting) < READINGS_PER_EVENT:
                self._ending.wait(GATHER_S)
        return False

    def _wait(self, seconds: float) -> None:
        """A pause that ends early when the device is told to stop, and is short afterwards."""
        if self._ending.wait(seconds):
            time.sleep(min(seconds, FIRST_PAUSE_S))


def main() -> int:
    """Run one device; the exit code says whether the hub has everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", help="name of the device, and partition key")
    parser.add_argument("--buffer", type=Path, default=Path("buffer.sqlite"))
    parser.add_argument("--limit", type=int, default=1_000_000, help="readings to keep while the hub is away")
    parser.add_argument("--no-flush", action="store_true", help="leave windows open: the device is back soon")
    given = parser.parse_args()
    hub = Hub(os.environ["EVENTHUB_CONNECTION_STRING"], given.device)
    device = Device(given.device, Buffer(given.buffer, given.limit), hub)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: device.stop())
    threading.Thread(target=device.measure, args=(sys.stdin.fileno(),), daemon=True).start()
    try:
        return 0 if device.run(flush=not given.no_flush) else 1
    finally:
        hub.close()


if __name__ == "__main__":
    raise SystemExit(main())
