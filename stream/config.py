"""What the stream worker needs to know; filled from settings by its composition root."""

from dataclasses import dataclass

from models.windowspec import WindowSpec


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Durations in seconds. See `infra.settings.Settings` for what each field does."""

    hub: str
    spec: WindowSpec
    ratings_hub: str = ""
    """Empty: no ratings are read."""
    allowed_lateness_s: float = 5.0
    max_ahead_s: float = 300.0
    idle_after_s: float = 300.0
    max_devices: int = 100_000
    max_series: int = 200_000
    max_open_readings: int = 5_000_000
    batch_max_age_s: float = 0.25
    checkpoint_interval_s: float = 5.0
    archive_max_rows: int = 100_000
    """Readings that wait for the archive before it is written without waiting for a checkpoint."""

    @property
    def lateness_us(self) -> int:
        """Allowed lateness in microseconds."""
        return round(self.allowed_lateness_s * 1e6)

    @property
    def max_ahead_us(self) -> int:
        """How far beyond its broker append time a reading may lie, in microseconds."""
        return round(self.max_ahead_s * 1e6)

    @property
    def idle_us(self) -> int:
        """Silence after which a device's windows are closed, in microseconds."""
        return round(self.idle_after_s * 1e6)
