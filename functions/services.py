"""Everything the triggers of the telemetry path need, made once per process by the composition root."""

from dataclasses import dataclass

from functions.folding import Folder
from functions.sweeping import Sweeper
from models.inference import LiveModel, ModelBank
from models.ports import BlobStore, Clock, EventSender, StateStore, TaskQueue


@dataclass(frozen=True, slots=True)
class Services:
    """Ports and the objects on them; all safe to share between threads."""

    blobs: BlobStore
    state: StateStore
    train_queue: TaskQueue
    clock: Clock
    model: LiveModel[ModelBank]
    folder: Folder
    sweeper: Sweeper
    train_min_windows: int
    ratings: EventSender
    """To the hub of ratings."""
