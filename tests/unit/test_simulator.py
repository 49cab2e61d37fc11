"""Simulated devices and their faults."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from infra.simulation import Fault, FaultKind, Fleet, plan_faults

START = 1_700_000_000_000_000
MINUTE = 60_000_000
FLEET = Fleet(seed=3, devices=2, sensors=2)


def values(fault: Fault | None = None, *, fleet: Fleet = FLEET) -> npt.NDArray[np.float64]:
    samples = fleet.samples("sim-001", START, START + 10 * MINUTE, [fault] if fault else [])
    chosen = np.array([sensor == "temperature" for sensor in samples.sensor])
    found: npt.NDArray[np.float64] = samples.value[chosen]
    return found


def fault_of(kind: FaultKind) -> Fault:
    begin, end = START + 2 * MINUTE, START + 6 * MINUTE
    return Fault(kind=kind, device="sim-001", sensor="temperature", start_us=begin, end_us=end)


def test_a_fleet_is_a_function_of_its_seed() -> None:
    assert np.array_equal(values(), values(fleet=Fleet(seed=3, devices=2, sensors=2)))
    assert not np.array_equal(values(), values(fleet=Fleet(seed=4, devices=2, sensors=2)))


def test_readings_do_not_depend_on_how_time_is_cut() -> None:
    whole = FLEET.samples("sim-002", START, START + MINUTE, [fault_of(FaultKind.DRIFT)])
    middle = START + 17_300_000
    parts = [FLEET.samples("sim-002", START, middle), FLEET.samples("sim-002", middle, START + MINUTE)]
    assert [sensor for part in parts for sensor in part.sensor] == whole.sensor
    assert np.array_equal(np.concatenate([part.ts_us for part in parts]), whole.ts_us)
    assert np.array_equal(np.concatenate([part.value for part in parts]), whole.value)


def test_the_rate_gives_the_number_of_readings_in_time_order() -> None:
    samples = Fleet(seed=1, devices=1, sensors=3, rate_hz=4.0).samples("sim-001", START, START + 10_000_000)
    assert len(samples) == 10 * 4 * 3
    assert (np.diff(samples.ts_us) >= 0).all()


def test_healthy_noise_is_standard_normal() -> None:
    from infra.simulation.fleet import _gaussian

    noise = _gaussian(99, np.arange(20_000))
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1) < 0.03


@pytest.mark.parametrize("kind", FaultKind)
def test_a_fault_changes_its_series_during_its_time_and_nothing_else(kind: FaultKind) -> None:
    healthy, broken = values(), values(fault_of(kind))
    during = slice(2 * 60, 6 * 60)
    assert not np.array_equal(healthy[during], broken[during])
    assert np.array_equal(np.delete(healthy, np.r_[during]), np.delete(broken, np.r_[during]))
    other = FLEET.samples("sim-002", START, START + MINUTE, [fault_of(kind)])
    assert np.array_equal(other.value, FLEET.samples("sim-002", START, START + MINUTE).value)


def test_each_kind_of_fault_looks_as_its_name_says() -> None:
    during = slice(2 * 60, 6 * 60)
    healthy = values()
    broken = {kind: values(fault_of(kind))[during] for kind in FaultKind}
    assert np.ptp(broken[FaultKind.STUCK]) == 0
    assert (np.abs(broken[FaultKind.SPIKE] - healthy[during]) > 5).sum() == len(healthy[during]) // 20
    assert broken[FaultKind.NOISE_BURST].std() > 2 * healthy[during].std() / 2
    drift = broken[FaultKind.DRIFT] - healthy[during]
    assert drift[-1] > drift[len(drift) // 2] > drift[0] >= 0
    assert np.ptp(broken[FaultKind.LEVEL_SHIFT] - healthy[during]) < 1e-3


def test_planned_faults_repeat_with_the_seed_stay_inside_and_never_overlap_on_a_series() -> None:
    end = START + 60 * MINUTE
    plan = plan_faults(FLEET.series, START, end, seed=5, every_s=60)
    assert plan == plan_faults(FLEET.series, START, end, seed=5, every_s=60)
    assert plan != plan_faults(FLEET.series, START, end, seed=6, every_s=60)
    assert {fault.kind for fault in plan} == set(FaultKind)
    assert all(START <= fault.start_us < fault.end_us <= end for fault in plan)
    for series in FLEET.series:
        ours = [fault for fault in plan if (fault.device, fault.sensor) == series]
        assert all(a.end_us <= b.start_us for a, b in itertools.pairwise(ours))
