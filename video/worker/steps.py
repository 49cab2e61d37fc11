"""The steps of a film's job: plan, segment, join. At least once each, in any order, by any worker.

A step that was done before finds its outcome in storage under the one name it can have, and makes nothing again.
"""

import hashlib
import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from models.contracts.film import FilmPlan
from models.contracts.videos import VideoJob, VideoMessage, VideoState
from models.errors import AlreadyExists, BadInput, NotFound, TryLater
from models.names import video_log_prefix, video_plan_blob, video_result_blob, video_segment_blob
from models.runlog import RunLog
from models.videos import safe_stem
from models.videowork import FRAMES, RUNTIME, VideoWork
from video.worker.headway import Beating, Labour, Watch
from video.worker.pipeline import Pipeline
from video.worker.sources import Sources

log = logging.getLogger(__name__)


class Cancelled(Exception):
    """The job ended while a step of it was in work."""


@dataclass
class Steps:
    """Does steps, one at a time. `beat` is called while a step makes headway, from any thread."""

    work: VideoWork
    sources: Sources
    pipeline: Pipeline
    scratch: Path
    beat: Callable[[], None] = lambda: None
    _plan: tuple[str, FilmPlan] | None = field(default=None, repr=False)

    def do(self, message: VideoMessage) -> str:
        """Do a step and say how it went. What is wrong with the film ends its job; other errors may pass."""
        try:
            job = self.work.videos.get(message.job)
        except NotFound:
            return f"{_step(message)} of {message.job}: there is no such video"
        if job.state.is_end:
            self.work.clear(job.id)
            return f"{_step(message)} of {job.id}: the video is {job.state}"
        begun = time.monotonic()
        with RunLog(self.work.blobs, f"{video_log_prefix(job.id)}{_step(message)}.txt"):
            try:
                outcome = {"plan": self._make_plan, "segment": self._make_segment, "join": self._join}[message.kind](
                    job, message
                )
            except Cancelled:
                outcome = "the video ended meanwhile"
            except BadInput as error:
                self.work.fail(job.id, str(error))
                outcome = f"the video failed: {error}"
            line = f"{_step(message)} of {job.id}: {outcome}"
            log.info("%s (%.1f s)", line, time.monotonic() - begun)
        return line

    def _make_plan(self, job: VideoJob, _message: VideoMessage) -> str:
        if job.state != VideoState.RECEIVED:
            return f"is there already; {self.work.ask_missing(job)} steps asked for"
        assert job.options is not None
        source = self._source(job)
        with self._at(job):
            plan = self.pipeline.plan(source, job.options)
        try:
            self.work.blobs.create(video_plan_blob(job.id), msgspec.json.encode(plan))
        except AlreadyExists:
            plan = self.work.plan(job.id)
        planned = self.work.videos.change(job.id, lambda now: self._planned(now, plan))
        if planned.state.is_end:
            raise Cancelled
        self.work.ask_missing(planned)
        for note in plan.notes:
            log.info("%s", note)
        return f"{plan.frames} frames in {len(plan.segments)} segments"

    def _planned(self, job: VideoJob, plan: FilmPlan) -> VideoJob:
        if job.state != VideoState.RECEIVED:
            return job
        now = self.work.clock.now()
        return msgspec.structs.replace(
            job, state=VideoState.STYLISING, segments=len(plan.segments), frames=plan.frames,
            notes=plan.notes, network=plan.style_version, started_at=now, moved_at=now,
        )  # fmt: skip

    def _make_segment(self, job: VideoJob, message: VideoMessage) -> str:
        if message.segment not in range(job.segments):
            return f"left alone: the video has {job.segments} segments"
        name = video_segment_blob(job.id, message.segment)
        if self.work.blobs.head(name) is not None:
            self.work.progress(job)
            return "is there already"
        plan = self._plan_of(job)
        source = self._source(job)
        watch = Watch(self.work, job.id, message.segment, self.beat)
        begun = time.monotonic()
        try:
            # However long it is until the first frame: the network is opened, and the film read up to there.
            with self._at(job, watch.stopped):
                data = self.pipeline.segment(
                    source, plan, message.segment, progress=watch.progress, stopped=watch.stopped
                )
        except Exception as error:
            if watch.stopped.is_set():
                raise Cancelled from error
            raise
        took = time.monotonic() - begun
        frames = plan.segments[message.segment].frames
        try:
            # As ASCII, since storage carries it as a header.
            runtime = self.pipeline.runtime.encode("ascii", "replace").decode()
            self.work.blobs.create(name, data, metadata={FRAMES: str(frames), RUNTIME: runtime})
        except AlreadyExists:
            log.info("another worker was first")
        if self.work.progress(job).state.is_end:
            self.work.clear(job.id)
        digest = hashlib.sha256(data).hexdigest()[:12]
        return (
            f"{frames} frames, {frames / max(took, 1e-3):.1f} a second, {len(data)} bytes, SHA-256 {digest}, "
            f"by {self.pipeline.runtime}"
        )

    def _join(self, job: VideoJob, _message: VideoMessage) -> str:
        missing = self.work.missing(job)
        if missing or not job.segments:
            self.work.ask_missing(job)
            return f"{len(missing)} segments are missing and asked for"
        plan = self._plan_of(job)
        source = self._source(job)
        self._note_runtimes(job)
        folder = self.scratch / f"join-{job.id}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            result = self._joined(job, plan, source, folder)
        except NotFound as error:
            if self.work.videos.get(job.id).state.is_end:
                raise Cancelled from error
            raise TryLater(f"a segment was there and is gone: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        ended = self.work.done(job.id, result)
        return f"{ended.state}, {result}"

    def _note_runtimes(self, job: VideoJob) -> None:
        """In the log what made the segments; in the record too if that differs between them."""
        runtimes = self.work.runtimes(job.id)
        made_by = ", ".join(f"{runtime} ({count})" for runtime, count in sorted(runtimes.items()))
        log.info("segments made by %s", made_by)
        note = f"its segments were made by different runtimes, which may round differently: {made_by}"
        if len(runtimes) > 1 and note not in job.notes:
            self.work.videos.change(job.id, lambda now: msgspec.structs.replace(now, notes=[*job.notes, note]))

    def _joined(self, job: VideoJob, plan: FilmPlan, source: Path, folder: Path) -> str:
        """Name of the blob with the whole film."""
        parts = [folder / f"{index:06d}" for index in range(job.segments)]
        for index, part in enumerate(parts):
            self.work.blobs.download(video_segment_blob(job.id, index), part)
            self.beat()
        out = folder / f"film{plan.ending}"
        with self._at(job):
            self.pipeline.join(source, plan, parts, out)
        result = video_result_blob(safe_stem(job.name), job.id, plan.ending)
        try:
            with Beating(self.beat):
                self.work.blobs.upload(result, out)
        except AlreadyExists:
            log.info("the film was joined before")
        return result

    def _at(self, job: VideoJob, stopped: threading.Event | None = None) -> Beating:
        return Beating(self.beat, Labour(self.work, job.id, stopped))

    def _source(self, job: VideoJob) -> Path:
        with Beating(self.beat):
            return self.sources.get(job.source, job.etag)

    def _plan_of(self, job: VideoJob) -> FilmPlan:
        if self._plan is None or self._plan[0] != job.id:
            try:
                self._plan = job.id, self.work.plan(job.id)
            except NotFound as error:
                raise TryLater(f"the plan of {job.id} is not in storage") from error
        return self._plan[1]


def _step(message: VideoMessage) -> str:
    return f"segment-{message.segment:06d}" if message.kind == "segment" else message.kind
