"""What a contestant's process reports, and how it is run."""

import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks.load import WindowStats

ROOT = Path(__file__).resolve().parents[2]


class Row(msgspec.Struct, array_like=True):
    """One window."""

    device: str
    sensor: str
    start_us: int
    count: int
    mean: float
    low: float
    high: float


class Outcome(msgspec.Struct):
    """Seconds, and CPU seconds of the process, from the first fetched record to the last window; the windows."""

    seconds: float
    cpu_seconds: float
    windows: list[Row]

    def stats(self) -> WindowStats:
        """The windows by key."""
        return {(r.device, r.sensor, r.start_us): (r.count, r.mean, r.low, r.high) for r in self.windows}


def report(outcome: Outcome) -> None:
    """Hand the outcome to the parent process."""
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    sys.stdout.buffer.flush()


def run_peer(module: str, *arguments: str, timeout_s: float = 300) -> Outcome:
    """Run a contestant to its end."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.peers.{module}", *arguments],
        cwd=ROOT,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0 or not done.stdout:
        raise RuntimeError(f"{module} ended with {done.returncode}: {done.stderr.decode()[-3000:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Outcome)
