"""The simulated fleet of the end-to-end benchmark: its events, and a model for each of its series."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from infra.feed.events import encode_event
from infra.simulation import Fault, Fleet
from models.features import windows_of_history
from models.windowspec import WindowSpec
from training.history import SeriesWindows
from training.svm import fit

RATE_HZ = 10
EVENT_US = 2_000_000
"""Each device sends what it measured in so long as one event; devices take turns within it."""
_STEP_US = 1_000_000 // RATE_HZ
_TRAINING_WINDOWS = 24
_TRAINING_APART = 7
"""Windows between two that are trained on: together they see the whole of every sensor's cycle."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of one device; it can be sent at `due_us`, when its last reading was taken (epoch microseconds)."""

    due_us: int
    device: str
    readings: int
    body: bytes


def fleet_of(devices: int) -> Fleet:
    """`devices` devices with five sensors read ten times a second; a small fleet is a part of a larger one."""
    return Fleet(devices=devices, sensors=5, rate_hz=RATE_HZ)


def readings_per_s(fleet: Fleet) -> int:
    """What the fleet measures."""
    return len(fleet.series) * RATE_HZ


def events_of(fleet: Fleet, start_us: int, end_us: int, faults: Sequence[Fault] = ()) -> list[Event]:
    """All readings in [start_us, end_us) as events, in the order in which they are due."""
    faults_of: dict[str, list[Fault]] = {}
    for fault in faults:
        faults_of.setdefault(fault.device, []).append(fault)
    events = []
    for number, device in enumerate(fleet.devices):
        samples = fleet.samples(device, start_us, end_us, faults_of.get(device, ()))
        turn_us = number * EVENT_US // len(fleet.devices) // _STEP_US * _STEP_US
        ends_us = np.arange(start_us + turn_us, end_us + EVENT_US, EVENT_US)
        cuts = np.unique(np.concatenate(([0], np.searchsorted(samples.ts_us, ends_us))))
        for start, end in pairwise(cuts.tolist()):
            part = slice(start, end)
            body = encode_event(device, samples.sensor[part], samples.ts_us[part], samples.value[part])
            events.append(Event(int(samples.ts_us[end - 1]), device, end - start, body))
    return sorted(events, key=lambda event: event.due_us)


def windows_between(fleet: Fleet, start_us: int, end_us: int, spec: WindowSpec) -> int:
    """Windows that the fleet's readings in [start_us, end_us) fall into."""
    return len(fleet.series) * ((end_us - 1) // spec.size_us - start_us // spec.size_us + 1)


def fit_models(fleet: Fleet, before_us: int, spec: WindowSpec) -> fit.Fleet:
    """A model for each series, from some windows of its healthy past before `before_us`."""
    sets = []
    for device in fleet.devices:
        windows = []
        for number in range(1, _TRAINING_WINDOWS + 1):
            start_us = (before_us // spec.size_us - number * _TRAINING_APART) * spec.size_us
            samples = fleet.samples(device, start_us, start_us + spec.size_us)
            code = np.tile(np.arange(len(fleet.sensors)), len(samples) // len(fleet.sensors))
            owner, begin, features = windows_of_history(code, samples.ts_us, samples.value, spec)
            windows.append((owner, begin, features.values))
        owner, begin, values = (np.concatenate(column) for column in zip(*reversed(windows), strict=True))
        for number, sensor in enumerate(fleet.sensors):
            mine = owner == number
            sets.append(SeriesWindows((device, sensor), begin[mine], values[mine]))
    return fit.fit_fleet(sorted(sets, key=lambda each: each.series), fit.SvmOptions())
