"""Scoring of window batches: what the queue function does with one message.

A message is delivered at least once, in any order, perhaps by two hosts at once. Predictions are created under the
batch's own name, so the first delivery decides; later ones only help the fold along.
"""

import logging
from typing import Final

import msgspec

from functions.folding import Folder, StoredPredictions, StreamPartition
from models.contracts import BatchMessage, PredictionStatus
from models.errors import AlreadyExists, BadInput, ConfigurationError, NotFound, TryLater
from models.inference import LiveModel, ModelBank
from models.names import batch_blob, prediction_blob
from models.ports import BlobStore
from models.tables import Predictions, Windows, decode_batch, encode_predictions
from models.windowspec import WindowSpec

log = logging.getLogger(__name__)

BATCH_ETAG: Final = "batch_etag"
"""Metadata of predictions: which version of the batch they score. There is a second one only after storage lost
the first and the stream wrote it again, perhaps with other windows; the sweep looks for such a mismatch."""


def decode_message(body: bytes) -> tuple[BatchMessage, StreamPartition]:
    """The batch message in `body` and the partition it speaks of. Raises BadInput if it is no such message."""
    try:
        message = msgspec.json.decode(body, type=BatchMessage)
        partition = StreamPartition(message.hub, WindowSpec.parse(message.spec), message.partition)
    except (msgspec.DecodeError, UnicodeDecodeError, ConfigurationError) as error:
        raise BadInput(f"expected a BatchMessage, got {body[:200]!r}: {error}") from error
    named = batch_blob(partition.hub, partition.spec, partition.number, message.seq)
    if message.blob != named or message.seq < 0 or message.partition < 0:
        raise BadInput(f"batch message: expected blob {named!r}, got {message.blob!r}")
    return message, partition


def handle_batch(body: bytes, blobs: BlobStore, model: LiveModel[ModelBank], folder: Folder) -> None:
    """Score the batch that the message `body` names and fold what can be folded.

    Harmless to repeat at any point: predictions are create-only, the fold applies a batch once. A batch below the
    fold's position costs one request, unless storage lost its predictions: then it is scored and folded again.
    Raises BadInput for a body that is no batch message, TryLater where another try may succeed.
    """
    message, partition = decode_message(body)
    position = folder.position(partition)
    behind = message.seq < position.applied_until
    present = blobs.head(_prediction_name(partition, message.seq)) if behind else None
    if present is not None and position.etag_of(message.seq) in (None, present.etag):
        return
    stored = None if present is not None else score_batch(message, partition, blobs, model.current())
    if behind:
        folder.rewind(partition, message.seq)
    folder.fold(partition, {} if stored is None else {message.seq: stored})


def score_batch(
    message: BatchMessage, partition: StreamPartition, blobs: BlobStore, bank: ModelBank | None
) -> StoredPredictions | None:
    """Write the predictions of a batch; None if it had some already, which then stand.

    Raises TryLater if the batch is not there: storage lost it (Azurite forgets its last seconds when it is killed)
    and the stream writes it again, with a message of its own.
    """
    try:
        stored = blobs.get(message.blob)
        batch = decode_batch(stored.data)
    except NotFound as error:
        raise TryLater(f"batch {message.blob} is not in storage (yet, or no longer)", retry_after_s=5.0) from error
    if bank is not None and bank.spec != partition.spec:
        log.warning("live model %s is for %s windows: %s is learning", bank.version, bank.spec.name, message.blob)
        bank = None
    predictions = score_windows(batch.windows, bank)
    try:
        info = blobs.create(
            _prediction_name(partition, message.seq),
            encode_predictions(predictions),
            metadata={BATCH_ETAG: stored.info.etag},
        )
    except AlreadyExists:
        return None
    return StoredPredictions(predictions, info.etag)


def score_windows(windows: Windows, bank: ModelBank | None) -> Predictions:
    """Predictions of `windows`, in their order; all `learning` without a bank."""
    import numpy as np

    n = len(windows)
    if bank is None:
        status, versions = [PredictionStatus.LEARNING.value] * n, [""] * n
        decision, score = np.full(n, np.nan), np.full(n, np.nan)
    else:
        scores = bank.score(windows.device, windows.sensor, windows.features)
        status, decision, score = scores.status, scores.decision, scores.score
        versions = ["" if each == PredictionStatus.LEARNING else bank.version for each in status]
    return Predictions(
        device=windows.device,
        sensor=windows.sensor,
        start_us=windows.start_us,
        count=windows.count,
        duplicates=windows.duplicates,
        features=windows.features,
        closed_offset=windows.closed_offset,
        status=status,
        decision=decision,
        score=score,
        model_version=versions,
    )


def _prediction_name(partition: StreamPartition, seq: int) -> str:
    return prediction_blob(partition.hub, partition.spec, partition.number, seq)
