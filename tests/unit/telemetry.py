"""Builders for tests of the telemetry path's functions: windows, a bank whose scores are known, batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from functions.folding import Folder, StreamPartition
from functions.sweeping import Sweeper
from models.contracts import Alert, BatchMessage, PredictionStatus
from models.features import FEATURES
from models.inference import Scores
from models.names import batch_blob, checkpoint_blob
from models.tables import WindowBatch, Windows, encode_batch
from models.windowspec import WindowSpec
from tests.fakes import FakeBlobs, FakeClock, FakeQueue, FakeState

SPEC = WindowSpec(60, 60)
PARTITION = StreamPartition("readings", SPEC, 0)
MINUTE_US = 60_000_000
THRESHOLD = 1.0


@dataclass(frozen=True, order=True)
class Window:
    """A window whose score is `value`; device `new` has no model, and a value of NaN is invalid."""

    minute: int
    device: str
    value: float


class ValueBank:
    """A bank that scores a window by its first feature."""

    spec = SPEC
    version = "v1"

    def current(self) -> "ValueBank":
        return self

    def score(self, device: Sequence[str], sensor: Sequence[str], features: np.ndarray) -> Scores:
        values = features[:, 0]
        known = np.array([each != "new" for each in device], dtype=bool)
        scored = known & np.isfinite(values)
        status = [
            str(PredictionStatus.SCORED if s else PredictionStatus.INVALID if k else PredictionStatus.LEARNING)
            for k, s in zip(known, scored, strict=True)
        ]
        score = np.where(scored, values, np.nan)
        return Scores(-score, score, status, scored)


class NoBank:
    """No live model."""

    def current(self) -> None:
        return None


def batch_bytes(windows: Sequence[Window]) -> bytes:
    rows = sorted(windows, key=lambda window: (window.device, window.minute))
    n = len(rows)
    features = np.zeros((n, len(FEATURES)))
    features[:, 0] = [row.value for row in rows]
    return encode_batch(
        WindowBatch(
            Windows(
                device=[row.device for row in rows],
                sensor=["temp"] * n,
                start_us=np.array([row.minute * MINUTE_US for row in rows], dtype=np.int64),
                count=np.ones(n, np.int32),
                duplicates=np.zeros(n, np.int32),
                features=features,
                closed_by=["watermark"] * n,
                closed_offset=np.zeros(n, np.int64),
            ),
            through_offset=0,
            closed_at=0.0,
        )
    )


def message_bytes(seq: int, partition: StreamPartition = PARTITION) -> bytes:
    blob = batch_blob(partition.hub, partition.spec, partition.number, seq)
    return msgspec.json.encode(
        BatchMessage(
            hub=partition.hub, spec=partition.spec.name, partition=partition.number, seq=seq, blob=blob, rows=1
        )
    )


@dataclass
class Plant:
    """Fakes of everything outside, with a folder and a sweeper on them."""

    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.blobs = FakeBlobs(self.clock)
        self.state = FakeState()
        self.queue = FakeQueue(self.clock)
        self.start()

    def start(self) -> None:
        """A new process: nothing that was in memory is left."""
        self.folder = Folder(self.blobs, self.state, self.clock, threshold=THRESHOLD)
        self.sweeper = Sweeper(self.blobs, self.state, self.queue, self.folder, self.clock)

    def write_batch(self, seq: int, windows: Sequence[Window]) -> None:
        """As the stream does; its checkpoint makes the partition known."""
        self.blobs.create(batch_blob("readings", SPEC, 0, seq), batch_bytes(windows))
        self.blobs.replace(checkpoint_blob("readings", SPEC, 0), b"")

    def alerts(self) -> list[Alert]:
        """All alerts in id order, without their wall-clock times."""
        documents = self.state.query("telemetry", id_prefix="alert:")
        alerts = [msgspec.json.decode(document.body, type=Alert) for document in documents]
        return [msgspec.structs.replace(alert, raised_at=0.0, updated_at=0.0) for alert in alerts]
