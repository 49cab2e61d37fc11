"""The hub's process seen from outside: its CPU and memory, and how soon it is ready on a gigabyte of log."""

import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.load import PARTITIONS
from infra.local.eventhubs.amqp.records import Record, encode_batch
from infra.local.eventhubs.hub import Hub
from infra.local.eventhubs.settings import HubSettings, LogSettings
from infra.local.eventhubs.testing import RunningHub

ROOT = Path(__file__).resolve().parents[1]


class HubProcess:
    """What the hub's process uses."""

    def __init__(self, hub: RunningHub) -> None:
        self._process = psutil.Process(hub.pid)

    def cpu_s(self) -> float:
        """CPU seconds so far, kernel included."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def resident_mb(self) -> float:
        """Resident size, MB."""
        return float(self._process.memory_info().rss) / 1e6

    def idle_percent(self, seconds: float) -> float:
        """CPU use while nobody asks anything, in percent of a core."""
        before = self.cpu_s()
        time.sleep(seconds)
        return 100 * (self.cpu_s() - before) / seconds


async def fill(data_dir: Path, topic: str, size_bytes: int, bodies: list[bytes]) -> int:
    """Write a log of about that size, every batch of these bodies, and close it; how many batches there are."""
    batch = encode_batch([Record(None, body) for body in bodies], 0)
    hub = Hub(HubSettings(data_dir, {topic: PARTITIONS}, log=LogSettings(fsync="none")))
    count = size_bytes // len(batch)
    for number in range(count):
        hub.partition(topic, number % PARTITIONS).append(batch, hub.clock_ms())
    await hub.close()
    return count


def forget_marks(data_dir: Path) -> None:
    """Leave nothing that spares the next start the reading of every batch."""
    for pattern in ("*.index", "producers.snapshot"):
        for mark in data_dir.glob(f"topics/*/*/{pattern}"):
            mark.unlink()


def seconds_to_ready(data_dir: Path) -> float:
    """From the start of a process until it says that it is ready; it is killed then."""
    command = [sys.executable, "-m", "infra.local.eventhubs", "serve", "--data", str(data_dir)]
    begun = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - begun
        process.kill()
    if b"ready" not in line:
        raise RuntimeError("the hub did not start")
    return seconds
