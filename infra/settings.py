"""All settings, read once per process from the environment by a composition root.

Every name here is an environment variable with the prefix `PENSTOCK_`, except the storage connection, which carries
the name that the function app's bindings use.
"""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.windowspec import WindowSpec


class Settings(BaseSettings):
    """Frozen settings of one process. Durations are in seconds, sizes in the unit that the name says."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", frozen=True, extra="ignore")

    # Storage account for data, and the Functions host's own (often the same on a laptop).
    data_storage: SecretStr = Field(default=SecretStr("UseDevelopmentStorage=true"), validation_alias="DataStorage")
    state_path: Path = Path(".penstock/data/state.sqlite")

    # The hub: devices and what simulates them send over AMQP, the stream and replays use Kafka.
    hub: str = "readings"
    amqp_connection: SecretStr = SecretStr(
        "Endpoint=sb://localhost:5672;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;"
        "UseDevelopmentEmulator=true"
    )
    """Event Hubs connection string for AMQP; by default the emulator's, whose key is public."""
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

    @property
    def spec(self) -> WindowSpec:
        """The window specification that `window` names."""
        return WindowSpec.parse(self.window)
