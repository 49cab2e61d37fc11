"""Versioned messages, files and documents: what crosses a process border.

Frozen msgspec Structs; JSON Schemas in `docs/contracts` are generated from them and a golden file per version
(`tests/golden`) keeps old messages readable. Unknown fields are ignored, so a reader may be older than a writer.
"""

from models.contracts.alerts import Alert, AlertStatus
from models.contracts.batches import BatchMessage, TrainRequest
from models.contracts.deadletters import DeadLetter, Reason
from models.contracts.feedback import FeedbackEvent, ForgetEvent
from models.contracts.predictions import Prediction, PredictionStatus
from models.contracts.readings import FlushMarker, Reading, epoch_us
from models.contracts.runs import Run, RunKind, RunRequest, RunStage, ShardRequest, Stage
from models.contracts.videos import BlobCreated, VideoJob, VideoMessage, VideoState
from models.contracts.windows import ClosedBy, WindowRow

__all__ = [
    "Alert",
    "AlertStatus",
    "BatchMessage",
    "BlobCreated",
    "ClosedBy",
    "DeadLetter",
    "FeedbackEvent",
    "FlushMarker",
    "ForgetEvent",
    "Prediction",
    "PredictionStatus",
    "Reading",
    "Reason",
    "Run",
    "RunKind",
    "RunRequest",
    "RunStage",
    "ShardRequest",
    "Stage",
    "TrainRequest",
    "VideoJob",
    "VideoMessage",
    "VideoState",
    "WindowRow",
    "epoch_us",
]
