"""What a request for One-Class SVMs leads to."""

from typing import Final

import msgspec

from models.contracts import TrainRequest
from models.errors import BadInput
from models.ports import BlobStore
from training.history import archived_readings, filter_readings, windows_by_series
from training.svm.fit import Refusal, fit_fleet
from training.svm.publish import Publishing

_SHOWN: Final = 5


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a request led to. `version` is None where nothing new was promoted."""

    version: str | None
    fitted: int
    skipped: int
    """Series that had a model already."""
    refused: list[Refusal]

    def __str__(self) -> str:
        shown = "; ".join(f"{r.device}/{r.sensor} {r.reason}" for r in self.refused[:_SHOWN])
        return (
            f"trained {self.fitted} series, skipped {self.skipped}, refused {len(self.refused)}"
            f"{f' ({shown})' if shown else ''}, live version {self.version or 'unchanged'}"
        )


def train(request: TrainRequest, blobs: BlobStore, publishing: Publishing) -> Outcome:
    """Fit the series of `request` that the live bank lacks, on the raw archive, and promote them beside the others.

    Replay is harmless: what was promoted by an earlier delivery is skipped by the next one. Series with too few
    windows stay refused until asked for again.
    """
    if request.spec != publishing.spec.name:
        raise BadInput(f"asked for {request.spec} windows, this worker trains on {publishing.spec.name}")
    base = publishing.live_base(publishing.registry.aliases().aliases.live)
    known = set(base.weights.series) if base else set()
    asked = set(request.series)
    wanted = asked - known
    if not wanted:
        return Outcome(version=None, fitted=0, skipped=len(asked), refused=[])
    readings = archived_readings(blobs, request.hub, lambda chunk: filter_readings(chunk, wanted))
    sets = windows_by_series(readings, publishing.spec, max_windows=publishing.options.max_windows)
    fleet = fit_fleet(sets, publishing.options)
    seen = {windows.series for windows in sets}
    missing = [Refusal(*series, 0, "has no readings in the archive") for series in sorted(wanted - seen)]
    if not fleet.fitted:
        return Outcome(version=None, fitted=0, skipped=len(asked & known), refused=missing + fleet.refused)
    registered = publishing.publish(fleet, promote=True)
    return Outcome(
        version=registered.manifest.version,
        fitted=len(registered.report.fitted),
        skipped=len(asked & known),
        refused=missing + registered.report.refused,
    )
