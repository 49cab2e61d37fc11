"""The part of the function app's composition root for runs: loaded when one of its functions is first called."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from functions.runs.intake import Intake
from functions.runs.services import RunServices
from functions.runs.shards import Batches
from functions.runs.sweep import RunSweeper
from functions.services import Services
from infra.azure.queues import AzureQueue
from infra.settings import Settings
from models.names import RECOMMEND_QUEUE, SHARD_QUEUE
from models.runs import Runs

if TYPE_CHECKING:
    from functions.recommend.services import RecommendServices


@dataclass(frozen=True, slots=True)
class _Answers:
    """Answers as the HTTP route gives them; what they need is loaded for the first user, not for the sweep."""

    services: "Callable[[], RecommendServices]"

    def recommend(self, user: str, k: int) -> msgspec.Struct:
        from functions.recommend.lists import recommend

        return recommend(user, {"k": str(k)}, self.services())


def build_runs(base: Services, recommending: "Callable[[], RecommendServices]") -> RunServices:
    """Services on the clients of `base` and the settings of this process. Raises ConfigurationError."""
    settings = Settings()
    connection = settings.data_storage.get_secret_value()
    runs = Runs(base.state, base.clock)
    intake = Intake(base.blobs, runs, AzureQueue(connection, RECOMMEND_QUEUE), model=settings.recommender)
    batches = Batches(
        base.blobs,
        runs,
        AzureQueue(connection, SHARD_QUEUE),
        _Answers(recommending),
        base.clock,
        model=settings.recommender,
    )
    return RunServices(
        blobs=base.blobs,
        clock=base.clock,
        runs=runs,
        intake=intake,
        batches=batches,
        sweeper=RunSweeper(base.blobs, runs, intake, batches, base.clock),
        model=settings.recommender,
        feedback_hub=settings.ratings_hub,
        retrain_min_feedback=settings.retrain_min_feedback,
    )
