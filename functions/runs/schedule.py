"""Retraining on a schedule: only when enough feedback has come in since a run last took it in."""

from typing import Final

from functions.runs.intake import Intake
from models.contracts.runs import RunKind
from models.names import THROUGH, feedback_prefix
from models.ports import BlobStore, Clock
from models.runs import Runs, run_id

# Runs that are read at first; the last that took feedback in is nearly always among them.
_RECENT: Final = 200


def retrain_on_feedback(
    blobs: BlobStore, runs: Runs, intake: Intake, clock: Clock, *, model: str, hub: str, min_events: int
) -> str | None:
    """The run that was started for the new feedback in the archive of `hub`; None if there is no need.

    There is none with fewer than `min_events` new events, nor while a run of training is unfinished: the next call
    looks again. Called twice within a second, one run is started.
    """
    if any(run.kind == RunKind.TRAIN for run in runs.unfinished()):
        return None
    taken = _taken_in(runs)
    archived = _archived_through(blobs, hub)
    new = sum(max(0, through - taken.get(partition, -1)) for partition, through in archived.items())
    if new < max(1, min_events):
        return None
    id = run_id(clock.now(), "schedule")
    if not runs.open(RunKind.TRAIN, id, model=model, detail=f"by schedule: {new} new events of feedback"):
        return None
    intake.ask(id)
    return id


def _taken_in(runs: Runs) -> dict[str, int]:
    """Last offset of the archive, by partition, that the latest run which took feedback in went to."""
    limit = _RECENT
    while True:
        found = runs.latest(limit)
        for run in found:
            if run.feedback:
                return run.feedback
        if len(found) < limit:
            return {}
        limit *= 10


def _archived_through(blobs: BlobStore, hub: str) -> dict[str, int]:
    """Last offset in the feedback archive of `hub`, by partition."""
    through: dict[str, int] = {}
    for info in blobs.list(feedback_prefix(hub)):
        partition = info.name.split("/")[-2]
        through[partition] = max(through.get(partition, -1), int(info.metadata.get(THROUGH, -1)))
    return through
