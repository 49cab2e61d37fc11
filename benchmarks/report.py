"""Figures of a benchmark with their targets, and the files they are kept in."""

import os
import platform
import statistics
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import psutil

RESULTS = Path(__file__).parent / "results"
_LIBRARIES = (
    "aiokafka",
    "av",
    "azure-eventhub",
    "confluent-kafka",
    "faust-streaming",
    "msgspec",
    "numpy",
    "onnxruntime",
    "openvino",
    "pyarrow",
    "scikit-learn",
    "torch",
)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured quantity: a value per repetition, and the target for their median, if it has one."""

    name: str
    unit: str
    values: list[float]
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        if self.at_least is None and self.at_most is None:
            return None
        return (self.at_least is None or self.median >= self.at_least) and (
            self.at_most is None or self.median <= self.at_most
        )

    def row(self) -> tuple[str, str, str, str]:
        """Name with unit, median, spread and target as text."""
        spread = "" if len(self.values) < 2 else f"{_number(min(self.values))} .. {_number(max(self.values))}"
        target = ""
        if self.at_least is not None:
            target = f">= {_number(self.at_least)}"
        elif self.at_most is not None:
            target = f"<= {_number(self.at_most)}"
        if self.met is not None:
            target += " met" if self.met else " MISSED"
        return f"{self.name} [{self.unit}]" if self.unit else self.name, _number(self.median), spread, target


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one benchmark found, and on what it ran."""

    name: str
    title: str
    conditions: list[str]
    """What was measured and how, one sentence each."""
    figures: list[Figure]
    machine: dict[str, str | int | float] = msgspec.field(default_factory=lambda: machine_facts())
    failures: list[str] = []
    """Results that did not agree: the figures are then worth nothing."""

    def save(self, folder: Path = RESULTS) -> None:
        """Write `<name>.json` and `<name>.md`, over those of the last run."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
        (folder / f"{self.name}.md").write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        """The same for people."""
        lines = [f"# {self.title}", "", *(f"- {condition}" for condition in self.conditions), ""]
        lines += [f"**Failed: {failure}**\n" for failure in self.failures]
        lines += ["| figure | median | spread | target | |", "|---|--:|--:|---|---|"]
        lines += [f"| {' | '.join((*figure.row(), figure.note))} |" for figure in self.figures]
        facts = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        return "\n".join([*lines, "", f"Machine: {facts}.", ""])


def ratio(over: Iterable[float], under: Iterable[float]) -> list[float]:
    """Quotients of repetitions that ran one after the other, so that a noisy minute hits both."""
    return [a / b for a, b in zip(over, under, strict=True)]


def machine_facts() -> dict[str, str | int | float]:
    """What figures depend on; nothing that names the machine or its owner."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count() or 0,
        "memory GiB": round(psutil.virtual_memory().total / 2**30),
        "load before": round(os.getloadavg()[0], 1),
        "platform": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
