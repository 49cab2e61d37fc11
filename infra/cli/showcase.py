"""What `up` and `demo` have in common: a simulated past to train on, and whether faults were found in the end."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from infra.cli.context import environment, open_blobs
from infra.feed.history import DeviceHistory
from infra.local.home import REPOSITORY, Home
from infra.settings import Settings
from infra.simulation import Fault, Fleet
from models.contracts import Alert
from models.errors import PenstockError

MINUTE_US = 60_000_000
TRAINING_MINUTES = 120
_TRAINING_TIMEOUT_S = 300


class TrainingFailed(PenstockError):
    """`penstock train svm` failed; the message holds what it said."""


def histories(fleet: Fleet, start_us: int, end_us: int, faults: Sequence[Fault] = ()) -> list[DeviceHistory]:
    """What all devices measured in [start_us, end_us)."""
    made = []
    for device in fleet.devices:
        samples = fleet.samples(device, start_us, end_us, faults)
        made.append(DeviceHistory(device, samples.sensor, samples.ts_us, samples.value))
    return made


def train(home: Home, fleet: Fleet, end_us: int) -> dict[str, Any]:
    """Train on two healthy hours of `fleet` before `end_us` and promote; what `train svm --json` printed.

    Raises TrainingFailed.
    """
    file = home.run / "simulated-history.csv"
    _write_csv(file, histories(fleet, end_us - TRAINING_MINUTES * MINUTE_US, end_us))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli.main", "train", "svm", "--csv", str(file), "--promote", "--json"],
            cwd=REPOSITORY,
            env=environment(home),
            capture_output=True,
            text=True,
            timeout=_TRAINING_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TrainingFailed(f"training took more than {_TRAINING_TIMEOUT_S} s") from error
    finally:
        file.unlink()
    if done.returncode != 0:
        raise TrainingFailed(f"training failed: {done.stderr.strip()[-2000:]}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def knows(settings: Settings, fleet: Fleet) -> bool:
    """Whether the live model holds every series of `fleet`, for the windows that the settings name."""
    from models.errors import BadInput, NotFound
    from models.inference.weights import WEIGHTS_FILE, decode_weights
    from models.registry import Registry

    registry = Registry(open_blobs(settings), settings.model)
    live = registry.aliases().aliases.live
    if live is None:
        return False
    try:
        manifest = registry.manifest(live)
        weights = decode_weights(registry.file(manifest, WEIGHTS_FILE))
    except (BadInput, NotFound):
        return False
    return manifest.window == settings.spec.name and set(fleet.series) <= set(weights.series)


def found_faults(faults: Iterable[Fault], alerts: Iterable[Alert], window_us: int) -> list[Fault]:
    """Faults with an alert on their series whose windows overlap them; `window_us` is the length of a window."""
    by_series: dict[tuple[str, str], list[Alert]] = {}
    for alert in alerts:
        by_series.setdefault((alert.device, alert.sensor), []).append(alert)
    return [
        fault
        for fault in faults
        if any(
            alert.start_us < fault.end_us and alert.last_us + window_us > fault.start_us
            for alert in by_series.get((fault.device, fault.sensor), ())
        )
    ]


def _write_csv(file: Path, made: Iterable[DeviceHistory]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(("device", "sensor", "ts", "value"))
        for history in made:
            columns = (history.sensor, (history.ts_us / 1e6).tolist(), history.value.tolist())
            writer.writerows((history.device, *row) for row in zip(*columns, strict=True))
