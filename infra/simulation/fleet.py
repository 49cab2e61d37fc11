"""A fleet of healthy devices: each sensor follows a cycle of its own, with noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infra.simulation.faults import Fault, apply_fault

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
UInt64 = npt.NDArray[np.uint64]

_SENSORS = ("temperature", "pressure", "vibration", "current", "humidity", "flow", "speed", "level")
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Samples:
    """n readings of one device in time order."""

    sensor: list[str]
    ts_us: Int64
    value: Float64

    def __len__(self) -> int:
        return len(self.sensor)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Healthy behaviour of one series: level + swing * sine of `period_s` + noise, in the sensor's own unit."""

    key: int
    level: float
    swing: float
    noise: float
    period_s: float
    phase: float


class Fleet:
    """`devices` devices with `sensors` sensors each, every sensor read `rate_hz` times a second.

    A reading depends on seed, device, sensor and time alone: two processes, or one that was restarted, agree.
    """

    def __init__(
        self, *, seed: int = 7, devices: int = 10, sensors: int = 3, rate_hz: float = 1.0, prefix: str = "sim"
    ) -> None:
        self.seed = seed
        self.devices = [f"{prefix}-{number:03d}" for number in range(1, devices + 1)]
        self.sensors = [
            _SENSORS[number] if number < len(_SENSORS) else f"sensor-{number + 1}" for number in range(sensors)
        ]
        self._step_us = round(1e6 / rate_hz)
        self._shapes = {
            (device, sensor): _shape(seed, d * 1009 + s)
            for d, device in enumerate(self.devices)
            for s, sensor in enumerate(self.sensors)
        }

    @property
    def series(self) -> list[tuple[str, str]]:
        """All (device, sensor)."""
        return list(self._shapes)

    def samples(self, device: str, start_us: int, end_us: int, faults: Sequence[Fault] = ()) -> Samples:
        """Readings of `device` with start_us <= ts < end_us, those of `faults` broken."""
        ticks = np.arange(-(-start_us // self._step_us), -(-end_us // self._step_us), dtype=np.int64)
        ts_us = ticks * self._step_us
        columns = np.empty((len(ticks), len(self.sensors)))
        for place, sensor in enumerate(self.sensors):
            columns[:, place] = self._values(device, sensor, ts_us, ticks, faults)
        return Samples(
            sensor=self.sensors * len(ticks),
            ts_us=np.repeat(ts_us, len(self.sensors)),
            value=np.round(columns.ravel(), 4),
        )

    def _values(self, device: str, sensor: str, ts_us: Int64, ticks: Int64, faults: Sequence[Fault]) -> Float64:
        shape = self._shapes[device, sensor]
        noise = shape.noise * _gaussian(shape.key, ticks)
        turn = (ts_us / 1e6) % shape.period_s / shape.period_s
        values: Float64 = shape.level + shape.swing * np.sin(2 * np.pi * turn + shape.phase) + noise
        for fault in faults:
            if (fault.device, fault.sensor) == (device, sensor):
                values = apply_fault(fault, ts_us, values, noise, shape.level, shape.swing + shape.noise)
        return values


def _shape(seed: int, number: int) -> _Shape:
    choose = np.random.default_rng((seed, number))
    swing = float(choose.uniform(2.0, 10.0))
    return _Shape(
        key=int(choose.integers(1, 2**62)),
        level=float(choose.uniform(20.0, 100.0)),
        swing=swing,
        noise=swing * float(choose.uniform(0.15, 0.3)),
        # Minutes instead of a day, so that a short history shows the whole cycle.
        period_s=float(choose.uniform(600.0, 1500.0)),
        phase=float(choose.uniform(0.0, 2 * np.pi)),
    )


def _gaussian(key: int, ticks: Int64) -> Float64:
    """Standard normal noise (n,) by Box and Muller, each value a hash of key and tick."""
    counter = ticks.astype(np.uint64) * np.uint64(2)
    first, second = _uniform(key, counter), _uniform(key, counter + np.uint64(1))
    noise: Float64 = np.sqrt(-2.0 * np.log(1.0 - first)) * np.cos(2 * np.pi * second)
    return noise


def _uniform(key: int, counter: UInt64) -> Float64:
    """Uniform numbers (n,) in [0, 1): SplitMix64 (Steele, Lea and Flood, 2014) of key and counter."""
    with np.errstate(over="ignore"):
        z = np.uint64(key) + (counter + np.uint64(1)) * np.uint64(_GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    uniform: Float64 = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform
