"""The fleet of the end-to-end benchmark: many devices that behave like a few simulated ones.

Fifty kinds of devices are simulated and modelled; each device is of one kind. So there are as many series, windows
and models to score as in a real fleet, while the load generator stays cheap beside what it measures.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import numpy as np

from infra.clock import SystemClock
from infra.feed.events import encode_event
from infra.simulation import Fault, Fleet, Samples
from models.features import windows_of_history
from models.inference.weights import GRAPH_FILE, WEIGHTS_FILE, Weights, decode_weights, encode_weights, select
from models.ports import BlobStore
from models.registry import Registry
from models.windowspec import WindowSpec
from training.history import SeriesWindows
from training.svm.fit import SvmOptions, fit_fleet
from training.svm.publish import Publishing

SENSORS = 5
EVENT_US = 20_000_000
"""Each device sends one event in so long, with a reading of each sensor per second; they take turns."""
_TICK_US = 1_000_000
_KINDS = Fleet(devices=50, sensors=SENSORS, rate_hz=1)
_TRAINING_US = 7_200_000_000


@dataclass(frozen=True, slots=True)
class Event:
    """An event of device `number`, sent when its last reading has been taken (epoch microseconds)."""

    due_us: int
    number: int
    readings: int
    body: bytes


def device_name(number: int) -> str:
    """Name of a device; name order is number order."""
    return f"unit-{number:05d}"


def readings_per_s(devices: int) -> int:
    """What so many devices measure."""
    return devices * SENSORS


def windows_between(devices: int, start_us: int, end_us: int, spec: WindowSpec) -> int:
    """Windows that the readings of so many devices in [start_us, end_us) fall into."""
    return devices * SENSORS * ((end_us - 1) // spec.size_us - start_us // spec.size_us + 1)


def events_between(
    devices: int, start_us: int, end_us: int, faults: Mapping[int, list[Fault]] | None = None
) -> Iterator[Event]:
    """All readings of devices 0 .. devices - 1 in [start_us, end_us), both whole seconds, in the order due.

    faults: of a device's kind (`fault_of`), by device number.
    """
    healthy = [_KINDS.samples(kind, start_us, end_us) for kind in _KINDS.devices]
    broken = {
        number: _KINDS.samples(_KINDS.devices[number % len(healthy)], start_us, end_us, its_faults)
        for number, its_faults in (faults or {}).items()
    }
    for round_us in range(start_us, end_us + EVENT_US, EVENT_US):
        for number in range(devices):
            turn_us = number * EVENT_US // devices // _TICK_US * _TICK_US
            first_us, last_us = max(start_us, round_us + turn_us - EVENT_US), min(end_us, round_us + turn_us)
            if first_us < last_us:
                samples = broken.get(number) or healthy[number % len(healthy)]
                yield _event(number, samples, (first_us - start_us) // _TICK_US, (last_us - start_us) // _TICK_US)


def _event(number: int, samples: Samples, first: int, end: int) -> Event:
    part = slice(first * SENSORS, end * SENSORS)
    body = encode_event(device_name(number), samples.sensor[part], samples.ts_us[part], samples.value[part])
    return Event(int(samples.ts_us[part][-1]), number, (end - first) * SENSORS, body)


def fault_of(number: int, sensor: int, make: "partial[Fault]") -> Fault:
    """The fault that `make` describes, as one of the device's kind."""
    return make(device=_KINDS.devices[number % len(_KINDS.devices)], sensor=_KINDS.sensors[sensor])


def sensor_name(sensor: int) -> str:
    """Name of a sensor."""
    return _KINDS.sensors[sensor]


def register_models(blobs: BlobStore, model: str, devices: int, before_us: int, spec: WindowSpec) -> None:
    """Train each kind of device on two healthy hours before `before_us`; make its models live for all its devices."""
    registry = Registry(blobs, model)
    fleet = fit_fleet(_history(before_us, spec), SvmOptions())
    if fleet.refused:
        raise RuntimeError(f"{len(fleet.refused)} series got no model, the first: {fleet.refused[0]}")
    manifest = Publishing(registry, spec, SvmOptions(), SystemClock()).publish(fleet, promote=False).manifest
    weights = _for_all(decode_weights(registry.file(manifest, WEIGHTS_FILE)), devices)
    files = {GRAPH_FILE: registry.file(manifest, GRAPH_FILE), WEIGHTS_FILE: encode_weights(weights)}
    version = f"{manifest.version}-fleet"
    registry.publish(msgspec.structs.replace(manifest, version=version, series=len(weights)), files)
    registry.promote(version)


def _history(before_us: int, spec: WindowSpec) -> list[SeriesWindows]:
    end_us = before_us // spec.size_us * spec.size_us
    sets = []
    for kind in _KINDS.devices:
        samples = _KINDS.samples(kind, end_us - _TRAINING_US, end_us)
        sensor = np.tile(np.arange(SENSORS), len(samples) // SENSORS)
        owner, start_us, features = windows_of_history(sensor, samples.ts_us, samples.value, spec)
        for number, name in enumerate(_KINDS.sensors):
            mine = owner == number
            sets.append(SeriesWindows((kind, name), start_us[mine], features.values[mine]))
    return sorted(sets, key=lambda each: each.series)


def _for_all(kinds: Weights, devices: int) -> Weights:
    row = {series: place for place, series in enumerate(kinds.series)}
    sensors = sorted(_KINDS.sensors)
    rows = [row[_KINDS.devices[n % len(_KINDS.devices)], sensor] for n in range(devices) for sensor in sensors]
    series = [(device_name(number), sensor) for number in range(devices) for sensor in sensors]
    return replace(select(kinds, rows), series=series)
