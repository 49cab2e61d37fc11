"""Builders for tests of runs: everything on fakes, and a recommender whose answers are known."""

from dataclasses import dataclass, field

import msgspec

from functions.runs.intake import Intake
from functions.runs.services import RunServices
from functions.runs.shards import Batches
from functions.runs.sweep import RunSweeper
from models.errors import BadInput
from models.runs import Runs
from tests.fakes import FakeBlobs, FakeClock, FakeQueue, FakeState


class Answer(msgspec.Struct):
    """What the recommender below answers."""

    items: list[dict[str, str]]
    model_version: str


@dataclass
class Recommender:
    """Recommends `item-0` to `item-<k-1>` to everybody but those it refuses."""

    refused: set[str] = field(default_factory=set)
    faults: dict[str, Exception] = field(default_factory=dict)
    error: Exception | None = None
    asked: list[str] = field(default_factory=list)

    def recommend(self, user: str, k: int) -> Answer:
        self.asked.append(user)
        if self.error is not None:
            raise self.error
        if user in self.faults:
            raise self.faults[user]
        if user in self.refused:
            raise BadInput(f"user {user} is refused")
        return Answer([{"item": f"item-{place}"} for place in range(k)], "v1")


@dataclass
class Office:
    """One process on fakes."""

    clock: FakeClock = field(default_factory=FakeClock)
    shard_users: int = 2

    def __post_init__(self) -> None:
        self.blobs, self.state = FakeBlobs(self.clock), FakeState()
        self.requests, self.shards = FakeQueue(self.clock), FakeQueue(self.clock)
        self.recommender = Recommender()
        self.runs = Runs(self.state, self.clock)
        self.intake = Intake(self.blobs, self.runs, self.requests, model="recommender")
        self.batches = Batches(
            self.blobs, self.runs, self.shards, self.recommender, self.clock,
            model="recommender", shard_users=self.shard_users,
        )  # fmt: skip
        self.sweeper = RunSweeper(self.blobs, self.runs, self.intake, self.batches, self.clock)

    @property
    def services(self) -> RunServices:
        return RunServices(
            blobs=self.blobs,
            clock=self.clock,
            runs=self.runs,
            intake=self.intake,
            batches=self.batches,
            sweeper=self.sweeper,
            model="recommender",
            feedback_hub="ratings",
            retrain_min_feedback=10,
        )

    def score_all(self) -> None:
        """Deliver every shard message once."""
        for body in self.shards.bodies:
            self.batches.score(body)
