"""Faults to inject: the ground truth that alerts are measured against."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec
import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


class FaultKind(StrEnum):
    """What goes wrong with a sensor."""

    SPIKE = "spike"
    """Every twentieth reading jumps far away."""
    STUCK = "stuck"
    """The same value again and again."""
    DRIFT = "drift"
    """A slope that grows until the fault ends."""
    LEVEL_SHIFT = "level-shift"
    """Everything a step higher."""
    NOISE_BURST = "noise-burst"
    """The noise many times as strong."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of one series in [start_us, end_us), event time in epoch microseconds."""

    kind: FaultKind
    device: str
    sensor: str
    start_us: int
    end_us: int


def apply_fault(fault: Fault, ts_us: Int64, clean: Float64, noise: Float64, level: float, scale: float) -> Float64:
    """Values (n,) of one series with `fault` in them.

    `clean` are the healthy values at `ts_us` and `noise` the noise part of them; the series varies around `level` by
    about `scale`. Depends on single readings only, so it does not matter how a series is cut.
    """
    inside = (ts_us >= fault.start_us) & (ts_us < fault.end_us)
    progress = (ts_us - fault.start_us) / max(fault.end_us - fault.start_us, 1)
    match fault.kind:
        case FaultKind.SPIKE:
            broken = np.where((ts_us // 1_000_000) % 20 == 0, clean + 8 * scale, clean)
        case FaultKind.STUCK:
            broken = np.full_like(clean, level)
        case FaultKind.DRIFT:
            broken = clean + 8 * scale * progress
        case FaultKind.LEVEL_SHIFT:
            broken = clean + 4 * scale
        case FaultKind.NOISE_BURST:
            broken = clean + 9 * noise
    return np.where(inside, broken, clean)


def plan_faults(
    series: Sequence[tuple[str, str]],
    start_us: int,
    end_us: int,
    *,
    seed: int,
    every_s: float = 60.0,
    lasting_s: float = 180.0,
    kinds: Sequence[FaultKind] = tuple(FaultKind),
) -> list[Fault]:
    """One fault per `every_s` in [start_us, end_us), all over by `end_us`, kinds in turn, at most one per series at
    a time. The same arguments give the same faults.
    """
    choose = np.random.default_rng((seed, start_us // 1_000_000))
    busy_until: dict[tuple[str, str], int] = {}
    length_us, faults = round(lasting_s * 1e6), list[Fault]()
    for start in range(start_us, end_us - length_us + 1, round(every_s * 1e6)):
        idle = [each for each in series if busy_until.get(each, 0) <= start]
        if kinds and idle:
            device, sensor = idle[int(choose.integers(len(idle)))]
            kind = kinds[len(faults) % len(kinds)]
            # A quiet time after each fault, so that its alert can clear before the next one of the series.
            busy_until[device, sensor] = start + 2 * length_us
            fault = Fault(kind=kind, device=device, sensor=sensor, start_us=start, end_us=start + length_us)
            faults.append(fault)
    return faults
