"""Simulated devices with injected faults: the input of `penstock up`, `penstock demo` and the benchmarks.

Everything is a function of the seed and of time. Nothing here does I/O.
"""

from infra.simulation.faults import Fault, FaultKind, plan_faults
from infra.simulation.fleet import Fleet, Samples

__all__ = ["Fault", "FaultKind", "Fleet", "Samples", "plan_faults"]
