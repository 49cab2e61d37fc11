"""Everything that the triggers of runs need, made once per process by the composition root."""

from dataclasses import dataclass

from functions.runs.intake import Intake
from functions.runs.shards import Batches
from functions.runs.sweep import RunSweeper
from models.ports import BlobStore, Clock
from models.runs import Runs


@dataclass(frozen=True, slots=True)
class RunServices:
    """Ports and the objects on them; all safe to share between threads."""

    blobs: BlobStore
    clock: Clock
    runs: Runs
    intake: Intake
    batches: Batches
    sweeper: RunSweeper
    model: str
    feedback_hub: str
    retrain_min_feedback: int
