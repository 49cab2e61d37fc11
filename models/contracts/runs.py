"""Runs of the recommender: what an upload, a schedule or a list of users led to, stage by stage."""

from enum import StrEnum

import msgspec


class RunKind(StrEnum):
    """What a run is for."""

    TRAIN = "train"
    SCORE = "score"
    """Recommendations for a list of users."""


class Stage(StrEnum):
    """How far a run has come. The last five are ends."""

    RECEIVED = "received"
    VALIDATED = "validated"
    TRAINING = "training"
    EVALUATED = "evaluated"
    REGISTERED = "registered"
    WRITTEN = "written"
    """Histories and user factors are in the state store."""
    SCORING = "scoring"
    PROMOTED = "promoted"
    REFUSED = "refused"
    """The new version is worse than the live one, which stays. No later run trains on the upload."""
    DONE = "done"
    """The list of recommendations is written."""
    FAILED = "failed"
    WITHDRAWN = "withdrawn"
    """It was promoted; since then somebody took its upload out of later training."""

    @property
    def is_end(self) -> bool:
        """Whether nothing comes after it."""
        return self in (Stage.PROMOTED, Stage.REFUSED, Stage.DONE, Stage.FAILED, Stage.WITHDRAWN)


class RunStage(msgspec.Struct, frozen=True):
    """A stage with the time it was reached, epoch seconds, and what there is to say about it."""

    stage: Stage
    at: float
    detail: str = ""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Tried again after a crash, it names the stages again that it went through again."""

    version: int = 1
    id: str
    kind: RunKind
    model: str
    """Name in the registry."""
    source: str
    """The blob that was uploaded; empty for a run by schedule, and for one that retries others."""
    etag: str = ""
    retries: list[str] = []
    """The runs whose uploads this one trains on again, together."""
    anyway: bool = False
    """Somebody wants it live even if it is worse than the live version; popularity it must beat all the same."""
    stages: list[RunStage]
    asked_at: float
    """When it was last handed to a worker by a message, epoch seconds."""
    shards: int = 0
    """Of a run for users: into how many parts their list was cut."""
    model_version: str | None = None
    metrics: dict[str, float] = {}
    feedback: dict[str, int] = {}
    """The archive of feedback that was taken in: last offset by partition of the hub."""
    left_out: dict[str, int] = {}
    """What is not trained on of deleted users: `users`, `ratings`, of these `untimed`, for want of a time."""
    result: str = ""
    """The blob with the outcome: the recommendations, or what is wrong with the list."""
    log: str = ""
    """The blob with the worker's log."""

    @property
    def stage(self) -> Stage:
        """The last stage reached."""
        return self.stages[-1].stage

    @property
    def reason(self) -> str:
        """What was said about the last stage: of a failed run, why."""
        return self.stages[-1].detail


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Do the training run `run`, whose record says the rest. Sent at least once; one that ended is left alone."""

    version: int = 1
    run: str


class ShardRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Make the recommendations of shard `shard` of run `run`. Sent at least once; the output is created once."""

    version: int = 1
    run: str
    shard: int
