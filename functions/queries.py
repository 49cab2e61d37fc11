"""What the HTTP functions answer: alerts, devices and health, as JSON bodies."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from functions.alerts import CONTAINER, find_alerts
from functions.parameters import brief, number_of
from functions.series import SHARD_PREFIX, Series, decode_shard
from models.contracts import Alert, AlertStatus
from models.errors import BadInput, PenstockError
from models.ports import StateStore

_MOST: Final = 10_000
_DEFAULT: Final = 100
_LONGEST_NAME: Final = 256


class AlertList(msgspec.Struct, frozen=True):
    """Body of `GET /api/alerts`: newest episode first."""

    alerts: list[Alert]


class SeriesState(msgspec.Struct, frozen=True, kw_only=True):
    """A series as its last window left it. `last_us` is that window's start, epoch microseconds."""

    device: str
    sensor: str
    last_us: int
    windows: int
    status: str
    score: float | None
    """Of the last scored window."""
    alerting: bool


class DeviceList(msgspec.Struct, frozen=True):
    """Body of `GET /api/devices`: in order of device and sensor; `total` counts those left out by `limit` too."""

    total: int
    series: list[SeriesState]


class Health(msgspec.Struct, frozen=True):
    """Body of `GET /api/health`. A check is "ok" or says what failed; `model` is the live version, if any."""

    ok: bool
    checks: dict[str, str]
    model: str | None


def list_alerts(parameters: Mapping[str, str], state: StateStore) -> AlertList:
    """Alerts by `device`, `sensor`, `status` and `limit`. Raises BadInput for a value that is none."""
    status = parameters.get("status")
    if status is not None and status not in set(AlertStatus):
        raise BadInput(f"status: expected one of {', '.join(AlertStatus)}, got {brief(status)}")
    return AlertList(
        find_alerts(
            state,
            device=_name(parameters, "device"),
            sensor=_name(parameters, "sensor"),
            status=None if status is None else AlertStatus(status),
            limit=_limit(parameters),
        )
    )


def list_devices(parameters: Mapping[str, str], state: StateStore) -> DeviceList:
    """Series by `device` and `limit`. Raises BadInput for a value that is none."""
    limit, device = _limit(parameters), _name(parameters, "device")
    found = [
        series
        for document in state.query(CONTAINER, id_prefix=SHARD_PREFIX)
        for series in decode_shard(document.body)
        if device in (None, series.device)
    ]
    found.sort(key=lambda series: (series.device, series.sensor))
    return DeviceList(len(found), [_state(series) for series in found[:limit]])


def check_health(checks: Mapping[str, Callable[[], object]], model_version: Callable[[], str | None]) -> Health:
    """The outcome of each check (it fails by raising one of our errors) and the live model's version."""
    outcomes = {name: _outcome(check) for name, check in checks.items()}
    try:
        model = model_version()
        outcomes["model"] = "ok"
    except PenstockError as error:
        model = None
        outcomes["model"] = str(error)
    return Health(all(outcome == "ok" for outcome in outcomes.values()), outcomes, model)


def _outcome(check: Callable[[], object]) -> str:
    try:
        check()
    except PenstockError as error:
        return str(error)
    return "ok"


def _limit(parameters: Mapping[str, str]) -> int:
    return number_of(parameters, "limit", default=_DEFAULT, most=_MOST)


def _name(parameters: Mapping[str, str], key: str) -> str | None:
    """The device or sensor asked for, which may be any name that a reading may have."""
    name = parameters.get(key)
    if name is not None and not 0 < len(name) <= _LONGEST_NAME:
        raise BadInput(f"{key}: expected a name of 1 to {_LONGEST_NAME} characters, got {len(name)}")
    return name


def _state(series: Series) -> SeriesState:
    return SeriesState(
        device=series.device,
        sensor=series.sensor,
        last_us=series.last_us,
        windows=series.windows,
        status=series.status,
        score=series.score,
        alerting=series.episode is not None,
    )
