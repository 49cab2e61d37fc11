"""`python -m infra.contracts [FOLDER]` writes the JSON Schema of every contract; default folder `docs/contracts`."""

import sys
from pathlib import Path
from typing import Final

import msgspec

from functions.queries import AlertList, DeviceList, Health
from functions.runs.queries import RunList
from functions.videos.queries import VideoList
from models import contracts
from models.contracts import film, recommendations, videos
from models.recommend.profile import Profile, Tombstone

CONTRACTS: Final[dict[str, type[msgspec.Struct]]] = {
    "reading": contracts.Reading,
    "flush-marker": contracts.FlushMarker,
    "window-row": contracts.WindowRow,
    "batch-message": contracts.BatchMessage,
    "train-request": contracts.TrainRequest,
    "prediction": contracts.Prediction,
    "alert": contracts.Alert,
    "dead-letter": contracts.DeadLetter,
    "feedback-event": contracts.FeedbackEvent,
    "forget-event": contracts.ForgetEvent,
    "film-plan": film.FilmPlan,
    "run": contracts.Run,
    "run-request": contracts.RunRequest,
    "shard-request": contracts.ShardRequest,
    "run-list": RunList,
    "video-job": videos.VideoJob,
    "video-message": videos.VideoMessage,
    "video-upload": videos.VideoUpload,
    "blob-created": videos.BlobCreated,
    "video-request": videos.VideoRequest,
    "video-accepted": videos.VideoAccepted,
    "video-status": videos.VideoStatus,
    "video-list": VideoList,
    "alert-list": AlertList,
    "device-list": DeviceList,
    "health": Health,
    "recommendations": recommendations.Recommendations,
    "item-list": recommendations.ItemList,
    "anonymous-request": recommendations.AnonymousRequest,
    "rating-request": recommendations.RatingRequest,
    "rating-accepted": recommendations.RatingAccepted,
    "prediction-request": recommendations.PredictionRequest,
    "predictions": recommendations.Predictions,
    "forgotten": recommendations.Forgotten,
    "variant-counts": recommendations.VariantCounts,
    "profile": Profile,
    "tombstone": Tombstone,
}


def schemas() -> dict[str, bytes]:
    """File name and text of each schema, ending in a newline."""
    return {f"{name}.schema.json": _schema(name, contract) for name, contract in CONTRACTS.items()}


def _schema(name: str, contract: type[msgspec.Struct]) -> bytes:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": name, **msgspec.json.schema(contract)}
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def main(arguments: list[str]) -> int:
    """Write all schemas; the exit code."""
    if len(arguments) > 1:
        print("usage: python -m infra.contracts [FOLDER]", file=sys.stderr)
        return 2
    folder = Path(arguments[0] if arguments else "docs/contracts")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_bytes(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
