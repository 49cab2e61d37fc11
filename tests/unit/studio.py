"""Builders for tests of jobs of films: everything on fakes, and a pipeline whose frames are text."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import msgspec

from functions.videos.intake import Intake
from functions.videos.services import VideoServices
from functions.videos.sweep import VideoSweeper
from models.contracts.film import Colour, Encoder, FilmOptions, FilmPlan, Limits, Segment, Source
from models.contracts.videos import VideoJob, VideoMessage
from models.errors import BadInput
from models.manifest import Manifest
from models.names import VIDEO_UPLOADS
from models.ports import BlobInfo
from models.registry import Registry
from models.style.names import StyleNames, model_name
from models.videos import Videos, job_id
from models.videowork import VideoWork
from tests.fakes import FakeBlobs, FakeClock, FakeLinks, FakeQueue, FakeState
from video.worker.sources import Sources
from video.worker.steps import Steps

FRAMES_EACH = 4


def film_plan(options: FilmOptions, frames: int) -> FilmPlan:
    """A plan of `frames` frames, four in a segment."""
    segments = [
        Segment(start=first, stop=min(first + FRAMES_EACH, frames), first=first, mark=first,
                times=list(range(first, min(first + FRAMES_EACH, frames))))
        for first in range(0, frames, FRAMES_EACH)
    ]  # fmt: skip
    return FilmPlan(
        options=options,
        style_version="shipped-0123456789ab",
        source=Source(
            format="mp4",
            size_bytes=1,
            stream=0,
            codec="h264",
            width=64,
            height=36,
            pixel_format="yuv420p",
            bits=8,
            time_base=(1, 24),
            rate=(24, 1),
            duration_s=frames / 24,
        ),
        container="mp4",
        ending=".mp4",
        encoder=Encoder(
            options={},
            width=64,
            height=36,
            pixel_format="yuv420p",
            time_base=(1, 24),
            rate=(24, 1),
            gop=24,
            sample_aspect=(1, 1),
            colour=Colour(),
            matrix=1,
        ),
        keep=[],
        segments=segments,
        notes=["a note"],
    )


@dataclass
class TextPipeline:
    """A film is a text of frames, one letter each; its style is upper case."""

    planned: int = 0
    made: list[int] = field(default_factory=list)
    joined: int = 0
    runtime: str = "Letters 1.0, fp32"
    during: Callable[[], None] = lambda: None
    """Called in the middle of each step."""

    def plan(self, source: Path, options: FilmOptions) -> FilmPlan:
        text = source.read_text()
        self.planned += 1
        self.during()
        if not text:
            raise BadInput("there is no frame in this film")
        return film_plan(options, len(text))

    def segment(
        self,
        source: Path,
        plan: FilmPlan,
        index: int,
        *,
        progress: Callable[[int], None],
        stopped: threading.Event,
    ) -> bytes:
        part = plan.segments[index]
        self.during()
        progress(part.frames)
        if stopped.is_set():
            raise InterruptedError
        self.made.append(index)
        return source.read_text()[part.start : part.stop].upper().encode()

    def join(self, source: Path, plan: FilmPlan, segments: Sequence[Path], out: Path) -> None:
        self.during()
        self.joined += 1
        out.write_bytes(b"".join(part.read_bytes() for part in segments))


@dataclass
class Studio:
    """One function app and one worker on fakes."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    pipeline: TextPipeline = field(default_factory=TextPipeline)

    def __post_init__(self) -> None:
        self.blobs, self.state = FakeBlobs(self.clock), FakeState()
        self.queue, self.links = FakeQueue(self.clock), FakeLinks(self.clock)
        self.videos = Videos(self.state, self.clock)
        self.work = VideoWork(self.blobs, self.videos, self.queue, self.clock)
        self.styles, self.limits = StyleNames(self.blobs), Limits()
        self.intake = Intake(self.videos, self.work, self.styles, self.limits)
        self.sweeper = VideoSweeper(self.work, self.intake, max_age=timedelta(hours=1))
        self.steps = self.worker("0")

    def worker(self, name: str) -> Steps:
        """Another worker on the same storage."""
        sources = Sources(self.blobs, self.folder / name, max_bytes=100, max_film_bytes=1000)
        return Steps(self.work, sources, self.pipeline, self.folder / f"scratch-{name}")

    @property
    def services(self) -> VideoServices:
        return VideoServices(
            clock=self.clock, videos=self.videos, styles=self.styles, limits=self.limits, work=self.work,
            links=self.links, intake=self.intake, sweeper=self.sweeper, link_valid=timedelta(minutes=15),
            uploads_per_hour=3,
        )  # fmt: skip

    def put(self, name: str = "film.mp4", frames: str = "abcdefghij", **options: str) -> BlobInfo:
        """Upload a film of ten frames, in three segments."""
        return self.blobs.replace(f"{VIDEO_UPLOADS}{name}", frames.encode(), metadata=options)

    def register(self, style: str, quality: str, *, live: bool = True) -> None:
        """Put a style into the registry that nobody ever opens."""
        registry = Registry(self.blobs, model_name(style, quality))
        registry.publish(
            Manifest(
                kind="style",
                model=registry.model,
                version="v1",
                created_at=1.0,
                creator="test",
                inputs=[],
                outputs=[],
                metrics={},
                parameters={},
                data_fingerprint="",
            ),
            {},
        )
        if live:
            registry.promote("v1")

    def event(self, info: BlobInfo, **changes: str) -> bytes:
        container, _, name = info.name.partition("/")
        subject = f"/blobServices/default/containers/{container}/blobs/{name}"
        return msgspec.json.encode({"subject": subject, "eventType": "Microsoft.Storage.BlobCreated", **changes})

    def start(self, info: BlobInfo | None = None) -> VideoJob:
        """The job of an upload."""
        info = info or self.put()
        assert self.intake.start(info)
        return self.videos.get(job_id(info, info.metadata))

    def next(self) -> VideoMessage | None:
        """The next message, taken for good."""
        item = self.queue.receive(timedelta(seconds=30))
        if item is None:
            return None
        self.queue.delete(item)
        return msgspec.json.decode(item.body, type=VideoMessage)

    def run(self, steps: int = 1000) -> list[str]:
        """What came of the steps that wait, and of those that they ask for."""
        said = []
        while len(said) < steps and (message := self.next()):
            said.append(self.steps.do(message))
        return said
