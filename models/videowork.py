"""What a job of a film has in storage and in the queue, for all who look after it: functions, workers, commands.

videos-in/<name>                       what was uploaded
videos-work/<job>/plan.json            the plan, create-only
videos-work/<job>/segments/<segment>   a stylised segment, create-only
videos-out/<stem>-<job><ending>        the stylised film, create-only
video-logs/<job>/<step>.txt            what the workers logged

Every step may be done twice, by two processes at once, and after a crash at any point: what is there already stands.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import msgspec

from models.contracts.film import FilmPlan
from models.contracts.videos import VideoJob, VideoMessage, VideoState
from models.names import video_plan_blob, video_segment_blob, video_segment_prefix, video_work_prefix
from models.ports import BlobStore, Clock, TaskQueue
from models.videos import Videos

FRAMES = "frames"
"""Metadata of a segment: how many frames it holds."""
RUNTIME = "runtime"
"""Metadata of a segment: what the network ran on, with its precision."""


@dataclass(frozen=True, slots=True)
class VideoWork:
    """Looks after jobs of films. Safe to share between threads."""

    blobs: BlobStore
    videos: Videos
    queue: TaskQueue
    clock: Clock

    def ask(self, job: str, kind: Literal["plan", "segment", "join"], segment: int = 0) -> None:
        """Queue a step; a second time is harmless."""
        self.queue.send(msgspec.json.encode(VideoMessage(kind=kind, job=job, segment=segment)))

    def plan(self, job: str) -> FilmPlan:
        """The plan of a job that was planned. Raises NotFound."""
        return msgspec.json.decode(self.blobs.get(video_plan_blob(job)).data, type=FilmPlan)

    def made(self, job: VideoJob) -> dict[int, int]:
        """Frames by segment, of all segments of a planned job that are there."""
        there = {
            info.name: int(info.metadata.get(FRAMES, 0)) for info in self.blobs.list(video_segment_prefix(job.id))
        }
        names = {segment: video_segment_blob(job.id, segment) for segment in range(job.segments)}
        return {segment: there[name] for segment, name in names.items() if name in there}

    def runtimes(self, job: str) -> dict[str, int]:
        """Segments that are there by what the network ran on for them."""
        return Counter(info.metadata.get(RUNTIME, "") for info in self.blobs.list(video_segment_prefix(job)))

    def ask_missing(self, job: VideoJob) -> int:
        """Queue whatever step `job` waits for next; the number of messages."""
        asked = 1
        if job.state == VideoState.RECEIVED:
            self.ask(job.id, "plan")
        elif missing := self.missing(job):
            for segment in missing:
                self.ask(job.id, "segment", segment)
            asked = len(missing)
        else:
            self.ask(job.id, "join")
        self.videos.set(job.id, asked_at=self.clock.now())
        return asked

    def missing(self, job: VideoJob) -> list[int]:
        """Segments of a planned job that are not there yet."""
        made = self.made(job)
        return [segment for segment in range(job.segments) if segment not in made]

    def progress(self, job: VideoJob) -> VideoJob:
        """The job with its segments counted; when all are there it is joining, and the join is asked for."""
        made = self.made(job)
        whole = job.segments > 0 and len(made) >= job.segments
        state = VideoState.JOINING if whole else VideoState.STYLISING
        counted = self.videos.change(job.id, lambda now: self._counted(now, made, state))
        if whole and counted.state == VideoState.JOINING:
            self.ask(job.id, "join")
        return counted

    def report(self, job: str, segment: int, frames: int) -> VideoJob:
        """The job, with so many frames of a segment that is in work; a try that begins anew lowers nothing."""
        return self.videos.change(job, lambda now: self._reported(now, segment, frames))

    def _reported(self, job: VideoJob, segment: int, frames: int) -> VideoJob:
        in_work = job.in_work or {}
        more = frames - in_work.get(segment, 0)
        if job.state != VideoState.STYLISING or more <= 0:
            return job
        return msgspec.structs.replace(
            job,
            in_work={**in_work, segment: frames},
            frames_done=min(job.frames, job.frames_done + more),
            moved_at=self.clock.now(),
        )

    def _counted(self, job: VideoJob, made: dict[int, int], state: VideoState) -> VideoJob:
        # Two workers may count at once: the later count is the larger one, whoever writes last.
        if job.state == VideoState.JOINING or len(made) <= job.segments_done:
            return job
        in_work = {segment: frames for segment, frames in (job.in_work or {}).items() if segment not in made}
        # Twice made, by workers of which one was slow, frames may have been counted twice.
        frames_done = min(job.frames, max(job.frames_done, sum(made.values()) + sum(in_work.values())))
        return msgspec.structs.replace(
            job,
            state=state,
            segments_done=len(made),
            in_work=in_work or msgspec.UNSET,
            frames_done=frames_done,
            moved_at=self.clock.now(),
        )

    def fail(self, job: str, reason: str) -> VideoJob:
        """The job as failed, and nothing left of its work; one that has ended stays as it is."""
        return self._end(job, VideoState.FAILED, error=reason)

    def cancel(self, job: str) -> VideoJob:
        """The job as cancelled, and nothing left of its work; one that has ended stays as it is."""
        return self._end(job, VideoState.CANCELLED, error="")

    def done(self, job: str, result: str) -> VideoJob:
        """The job as done; without the result if it was cancelled meanwhile."""
        ended = self._end(job, VideoState.DONE, result=result, error="")
        if ended.result != result:
            self.blobs.delete(result)
        return ended

    def clear(self, job: str) -> None:
        """Remove the work of a job that ended."""
        for info in self.blobs.list(video_work_prefix(job)):
            self.blobs.delete(info.name)

    def _end(self, job: str, state: VideoState, **facts: str) -> VideoJob:
        ended = self.videos.moved(job, state=state, in_work=msgspec.UNSET, **facts)
        self.clear(job)
        return ended
