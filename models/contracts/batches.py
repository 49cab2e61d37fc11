"""Queue messages of the telemetry path."""

import msgspec


class BatchMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Claim check: score the window batch in `blob`. Sent at least once per batch; scoring it again is harmless."""

    version: int = 1
    hub: str
    spec: str
    partition: int
    seq: int
    blob: str
    rows: int


class TrainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Train the series named (device, sensor) from the raw archive and promote the result.

    Sent again while series stay without a model; training what already has one is skipped.
    """

    version: int = 1
    hub: str
    spec: str
    series: list[tuple[str, str]]
