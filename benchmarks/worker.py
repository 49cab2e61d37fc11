"""Penstock's stream worker as it is deployed, with a real Azurite, watched through its status page."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import PARTITIONS, WindowStats
from infra.azure.blobs import AzureBlobs
from infra.local.azurite import running_azurite
from infra.local.runtime_ports import RuntimePorts
from models import names
from models.features import FEATURES
from models.tables import decode_batch
from models.windowspec import WindowSpec

ROOT = Path(__file__).resolve().parents[1]
SPEC = WindowSpec(60, 60)


class StreamWorker:
    """A running `python -m infra.wiring.stream`."""

    def __init__(self, folder: Path, bootstrap: str, hub: str, storage: str, **settings: object) -> None:
        self.hub, self.storage = hub, storage
        self._port = RuntimePorts.free().stream_web
        self._log = folder / "stream.log"
        with self._log.open("ab") as log:
            self.process = psutil.Popen(
                [sys.executable, "-m", "infra.wiring.stream"],
                env={
                    **os.environ,
                    "DataStorage": storage,
                    "PENSTOCK_HUB": hub,
                    "PENSTOCK_KAFKA_BOOTSTRAP": bootstrap,
                    "PENSTOCK_CONSUMER_GROUP": f"bench-{self._port}",
                    "PENSTOCK_STREAM_WEB_PORT": str(self._port),
                    "PENSTOCK_STREAM_DIR": str(folder / "stream"),
                    **{f"PENSTOCK_{name.upper()}": str(value) for name, value in settings.items()},
                },
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def cpu_s(self) -> float:
        """CPU seconds of the process so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def page(self) -> dict[str, Any] | None:
        """The status page; None while the worker starts. Raises RuntimeError when it has died."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the stream worker ended: {self._log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/penstock/status/", timeout=30) as answer:
                page: dict[str, Any] = json.load(answer)
        except (OSError, urllib.error.URLError):
            return None
        return page

    def watch(self, *, poll_s: float = 0.05, timeout_s: float = 600) -> Iterator[tuple[float, dict[str, Any]]]:
        """(monotonic time, status page) from the first page on, until the caller stops or TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            asked = time.monotonic()
            page = self.page()
            if page is not None:
                yield (asked + time.monotonic()) / 2, page
            time.sleep(poll_s)
        raise TimeoutError(f"the stream worker was not through after {timeout_s:g} s: {self.page()}")

    def windows(self) -> WindowStats:
        """The windows in its batches, once checkpoints cover all. Raises RuntimeError if one stands there twice."""
        for _, page in self.watch():
            if all(each["checkpoint_offset"] == each["end_offset"] for each in page["partitions"].values()):
                break
        blobs, found = AzureBlobs(self.storage), WindowStats()
        columns = [FEATURES.index(name) for name in ("mean", "min", "max")]
        for partition in range(PARTITIONS):
            for info in list(blobs.list(names.batch_prefix(self.hub, SPEC, partition))):
                windows = decode_batch(blobs.get(info.name).data).windows
                keys = zip(windows.device, windows.sensor, windows.start_us.tolist(), strict=True)
                values = windows.features[:, columns].tolist()
                for key, count, (mean, low, high) in zip(keys, windows.count.tolist(), values, strict=True):
                    if key in found:
                        raise RuntimeError(f"window {key} was written twice")
                    found[key] = (count, mean, low, high)
        return found

    def stop(self) -> None:
        """End it in good order."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            self.process.kill()
            self.process.wait()


@contextmanager
def stream_worker(folder: Path, bootstrap: str, hub: str, **settings: object) -> Iterator[StreamWorker]:
    """A worker on an empty storage account; both end, and the account's data goes, with the block."""
    folder.mkdir(parents=True)
    try:
        with running_azurite(folder / "azurite") as azurite:
            worker = StreamWorker(folder, bootstrap, hub, azurite.connection_string, **settings)
            try:
                yield worker
            finally:
                worker.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
