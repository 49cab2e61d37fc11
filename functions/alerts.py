"""Alerts as documents of the state store: their ids, and finding them again."""

from typing import Final

import msgspec

from models.contracts import Alert, AlertStatus
from models.names import escaped
from models.ports import StateStore

# One container for all that is folded from predictions: a transaction spans documents of one container only.
CONTAINER: Final = "telemetry"
_PREFIX: Final = "alert:"


def alert_id(device: str, sensor: str, start_us: int) -> str:
    """Document id of an alert; different for different (device, sensor, start), whatever the names contain.

    Ids of one series sort by start. They hold no character that Cosmos DB forbids and stay below its 1,023 bytes.
    """
    return f"{_prefix(device, sensor)}{start_us:017d}"


def find_alerts(
    state: StateStore,
    *,
    device: str | None = None,
    sensor: str | None = None,
    status: AlertStatus | None = None,
    limit: int = 100,
) -> list[Alert]:
    """The latest alerts by episode start, newest first, of the device, sensor and status asked for."""
    documents = state.query(CONTAINER, id_prefix=_prefix(device, sensor) if device is not None else _PREFIX)
    alerts = [
        alert
        for alert in map(_decoder.decode, (document.body for document in documents))
        if (device is None or alert.device == device)
        and (sensor is None or alert.sensor == sensor)
        and (status is None or alert.status is status)
    ]
    alerts.sort(key=lambda alert: (-alert.start_us, alert.device, alert.sensor))
    return alerts[:limit]


def _prefix(device: str, sensor: str | None) -> str:
    return f"{_PREFIX}{escaped(device)}:" + ("" if sensor is None else f"{escaped(sensor)}:")


_decoder = msgspec.json.Decoder(Alert)
