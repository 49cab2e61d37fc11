"""All settings, read once per process from the environment by a composition root.

Every name here is an environment variable with the prefix `PENSTOCK_`, except the storage connection, which carries
the name that the function app's bindings use.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.contracts.film import Limits
from models.windowspec import WindowSpec


class Settings(BaseSettings):
    """Frozen settings of one process. Durations are in seconds, sizes in the unit that the name says."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", frozen=True, extra="ignore")

    # Storage account for data, and the Functions host's own (often the same on a laptop).
    data_storage: SecretStr = Field(default=SecretStr("UseDevelopmentStorage=true"), validation_alias="DataStorage")
    state_path: Path = Path(".penstock/data/state.sqlite")
    cosmos_endpoint: str | None = None
    """Address of a Cosmos DB account. None: the state store is the SQLite file."""
    cosmos_key: SecretStr | None = None
    """None: the account is entered by identity."""
    cosmos_database: str = "penstock"

    # The hub: devices, what simulates them, and functions send over AMQP; the stream and replays use Kafka.
    hub: str = "readings"
    ratings_hub: str = "ratings"
    """Where users' ratings pass through, beside `hub`. Empty: the stream worker reads none."""
    amqp_connection: SecretStr = SecretStr(
        "Endpoint=sb://localhost:5672;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;"
        "UseDevelopmentEmulator=true"
    )
    """Event Hubs connection string for AMQP; by default the emulator's, whose key is public."""
    amqp_namespace: str | None = None
    """Host of an Event Hubs namespace that is entered by identity, in place of the connection string."""
    kafka_bootstrap: str = "127.0.0.1:9092"
    kafka_connection: SecretStr | None = None
    """The same for Kafka: SASL PLAIN over TLS. None: plain text, for the local hub."""
    consumer_group: str = "penstock-stream"
    group_session_s: float = Field(default=10.0, ge=3.0)
    """A stream worker silent for so long loses its partitions."""

    # Windows.
    window: str = "tumbling-60s"
    allowed_lateness_s: float = Field(default=5.0, ge=0)
    max_ahead_s: float = Field(default=300.0, gt=0)
    idle_after_s: float = Field(default=300.0, gt=0)
    max_devices: int = Field(default=100_000, gt=0)
    """Devices ever seen per partition, since a watermark is kept for each; readings of further ones are set aside."""
    max_series: int = Field(default=200_000, gt=0)
    """(device, sensor) pairs ever seen per partition; readings of further ones are set aside."""
    max_open_readings: int = Field(default=5_000_000, gt=0)
    """Readings in open windows per partition; further ones are set aside."""

    # Stream hand-over.
    batch_max_age_s: float = Field(default=0.25, gt=0)
    checkpoint_interval_s: float = Field(default=5.0, gt=0)
    stream_web_port: int = 6066
    stream_dir: Path = Path(".penstock/run/stream")

    # Scoring.
    model: str = "svm"
    alert_threshold: float = 1.0
    """A window with a score above it opens or continues an alert."""
    model_refresh_s: float = Field(default=2.0, gt=0)
    train_min_windows: int = Field(default=20, ge=2)
    """Windows a series needs before the timer asks for its model."""

    # Recommendations.
    recommender: str = "recommender"
    """Model name in the registry that all users get, while no variants are set."""
    recommender_variants: str | None = None
    """Shares of the users, like `a=recommender:90,b=recommender-b:10`."""
    fm: str = "recommender-fm"
    """Model name of the factorization machine behind /api/predictions."""

    # Training.
    train_lock_s: float = Field(default=30.0, ge=1)
    """How long a training message of a killed worker stays hidden."""
    train_share: float = Field(default=0.9, gt=0, lt=1)
    """Share of the ratings that a recommender is fitted on; versions are compared on the rest."""
    gate_metric: Literal["ndcg_at_k", "map", "map_at_k", "precision_at_k", "recall_at_k"] = "ndcg_at_k"
    """By which metric of ranked lists versions are compared."""
    gate_k: int = Field(default=10, ge=1, le=1000)
    """Items in those lists."""
    gate_tolerance: float = Field(default=0.0, ge=0)
    """A candidate that is worse by no more than this is promoted all the same."""
    retrain_min_feedback: int = Field(default=1000, ge=1)
    """New events of feedback from which the schedule starts training."""

    # Films.
    video_workers: int = Field(default=1, ge=0, le=64)
    """Worker processes that `penstock up` starts, or that one video worker runs side by side."""
    video_threads: int = Field(default=0, ge=0)
    """Threads of the network per worker. 0: the cores of the machine divided by the workers."""
    video_providers: str | None = None
    """Runtimes for networks that may be used, like `openvino,cpu`: the first that starts. None: the best there is."""
    video_precision: Literal["best", "fp32"] = "best"
    """`fp32`: the same pictures on all machines, within a level; `best` may round where that is faster."""
    video_dir: Path = Path(".penstock/run/video")
    """Scratch of the video workers: sources, and segments while they are joined."""
    video_cache_bytes: int = Field(default=4 * 2**30, gt=0)
    """Sources that a worker keeps on disk; the one in work is kept in any case."""
    video_lock_s: float = Field(default=30.0, ge=1)
    """How long a message of a killed worker stays hidden."""
    video_stall_s: float = Field(default=600.0, ge=1)
    """A worker that makes no frame for so long is ended, and the step counted as failed."""
    video_max_age_s: float = Field(default=86_400.0, gt=0)
    """A job that is not done within it has failed."""
    video_link_s: float = Field(default=900.0, gt=0, le=86_400)
    """How long addresses for uploads and downloads are good for."""
    video_uploads_per_hour: int = Field(default=30, ge=1, le=1000)
    """Uploads that one caller may ask for over HTTP."""
    video_segment_s: float = Field(default=4.0, gt=0)
    """The longest segment of a film; none has more than 120 frames."""
    video_max_pixels: int = Field(default=4096 * 2304, gt=0, le=8192 * 8192)
    """Width times height of a film, and of what is made of it."""
    video_max_side: int = Field(default=8192, ge=16, le=16384)
    """The longer one of width and height, of both."""
    video_max_seconds: float = Field(default=3 * 3600.0, gt=0)
    """Length of a film."""
    video_max_frames: int = Field(default=400_000, gt=0)
    video_max_bytes: int = Field(default=16 * 2**30, gt=0)
    """Size of an uploaded film."""

    @property
    def film_limits(self) -> Limits:
        """What a film may be at most."""
        return Limits(
            max_pixels=self.video_max_pixels,
            max_side=self.video_max_side,
            max_seconds=self.video_max_seconds,
            max_frames=self.video_max_frames,
            max_bytes=self.video_max_bytes,
        )

    @property
    def spec(self) -> WindowSpec:
        """The window specification that `window` names."""
        return WindowSpec.parse(self.window)
