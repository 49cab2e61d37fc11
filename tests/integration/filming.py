"""Films for integration tests: networks of one node as styles, workers and a functions host as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
from onnx import helper

from infra.azure.blobs import AzureBlobs
from infra.azure.queues import AzureQueue
from infra.clock import SystemClock
from infra.local.azurite import RunningAzurite
from infra.state.sqlite import SqliteState
from models.contracts.videos import VideoJob
from models.errors import NotFound
from models.names import VIDEO_QUEUE, VIDEO_UPLOAD_QUEUE
from models.registry import Registry
from models.style.library import publish_style
from models.style.names import model_name
from models.videos import Videos
from models.videowork import VideoWork
from tests.unit.styles import manifest_of, model_of
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
SEGMENT_S = 0.125
"""Three frames of 24 a second."""


@dataclass
class Set:
    """An account, a state store, and what processes need to find them."""

    azurite: RunningAzurite
    folder: Path
    lock_s: float = 2.0

    def __post_init__(self) -> None:
        connection = self.azurite.connection_string
        self.environment = {
            **os.environ,
            "DataStorage": connection,
            "AzureWebJobsStorage": connection,
            "PENSTOCK_STATE_PATH": str(self.folder / "state.sqlite"),
            "PENSTOCK_VIDEO_DIR": str(self.folder / "video"),
            "PENSTOCK_VIDEO_LOCK_S": str(self.lock_s),
            "PENSTOCK_VIDEO_SEGMENT_S": str(SEGMENT_S),
            "PENSTOCK_VIDEO_SCHEDULE": "* * * * * *",
            "FUNCTIONS_HOST_QUEUE_LOCK_S": "3",
        }
        self.blobs = AzureBlobs(connection)
        self.uploads = AzureQueue(connection, VIDEO_UPLOAD_QUEUE)
        self.videos = Videos(SqliteState(self.folder / "state.sqlite"), SystemClock())
        self.queue = AzureQueue(connection, VIDEO_QUEUE)
        self.work = VideoWork(self.blobs, self.videos, self.queue, SystemClock())
        self.style("inverted", [helper.make_node("Sub", ["one", "image"], ["styled"])])
        self.style(
            "broken",
            [helper.make_node("Sub", ["image", "two"], ["below"]), helper.make_node("Sqrt", ["below"], ["styled"])],
        )

    def slow_style(self) -> str:
        """A style whose frames take a tenth of a second, so that there is something to interrupt."""
        width, layers = 64, 24
        weights = np.random.default_rng(0).normal(0, 0.04, (width, width, 3, 3)).astype(np.float32)
        nodes = [helper.make_node("Conv", ["image", "head"], ["at0"], pads=[1, 1, 1, 1])]
        nodes += [
            helper.make_node("Conv", [f"at{at}", "body"], [f"at{at + 1}"], pads=[1, 1, 1, 1]) for at in range(layers)
        ]
        nodes.append(helper.make_node("Conv", [f"at{layers}", "tail"], ["styled"], pads=[1, 1, 1, 1]))
        self.style("slow", nodes, head=weights[:, :3], body=weights, tail=weights[:3])
        return "slow"

    def style(self, name: str, nodes: list[Any], **weights: Any) -> None:
        """Register a network, as the live one of `fast`; once."""
        if Registry(self.blobs, model_name(name, "fast")).aliases().aliases.live:
            return
        graph = model_of(nodes, weights or {"one": np.float32(1), "two": np.float32(2)}).SerializeToString()
        manifest = manifest_of(graph, style=name, quality="fast")
        publish_style(self.blobs, manifest, graph, version="v1", created_at=time.time(), creator="tests")
        Registry(self.blobs, model_name(name, "fast")).promote("v1")

    def start_worker(self, **settings: str) -> subprocess.Popen[bytes]:
        """A worker process, for the caller to end."""
        command = [sys.executable, "-m", "infra.wiring.video"]
        with (self.folder / "worker.log").open("ab") as log:
            return subprocess.Popen(command, env={**self.environment, **settings}, stderr=log)

    @contextmanager
    def workers(self, count: int = 1, **settings: str) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Worker processes; whatever stands in the list in the end is killed."""
        processes = [self.start_worker(**settings) for _ in range(count)]
        try:
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.wait()

    @contextmanager
    def host(self) -> Iterator[httpx.Client]:
        """The function app in a host process; killed in the end."""
        command = [sys.executable, "-m", "infra.local.functions_host", "--app", str(ROOT), "--port", "0"]
        with (self.folder / "host.log").open("a") as log:
            process = subprocess.Popen(
                [*command, "--host-id", "films", "--data-dir", str(self.folder / "host")],
                env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            keys = json.loads((self.folder / "host" / "keys.json").read_text())
            headers = {"x-functions-key": keys["functionKeys"]["default"]}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/", headers=headers, timeout=30) as client:
                yield client
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def tell(self, blob: str) -> None:
        """Tell of an upload, as Event Grid does."""
        event = {
            "subject": f"/blobServices/default/containers/videos-in/blobs/{blob.partition('/')[2]}",
            "eventType": "Microsoft.Storage.BlobCreated",
        }
        self.uploads.send(json.dumps(event).encode())

    def job(self, id: str) -> VideoJob | None:
        try:
            return self.videos.get(id)
        except NotFound:
            return None

    def ended(self, id: str, timeout_s: float = 90) -> VideoJob:
        """The job once it has ended."""

        def look() -> VideoJob | None:
            job = self.job(id)
            return job if job is not None and job.state.is_end else None

        return wait_for(look, timeout_s)

    def close(self) -> None:
        self.blobs.close()
        self.uploads.close()
        self.queue.close()


def pictures(path: Path) -> tuple[list[int], np.ndarray[Any, np.dtype[np.uint8]]]:
    """Times and pixels of every frame of a film."""
    with av.open(str(path)) as film:
        frames = list(film.decode(video=0))
        return [frame.pts or 0 for frame in frames], np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
