"""Retraining on a schedule: only when enough feedback has come in since a run last took it in."""

from typing import Final

from functions.runs.intake import Intake
from models.contracts.runs import RunKind
from models.names import THROUGH, feedback_prefix
from models.ports import BlobStore, Clock
from models.runs import Runs, run_id

# An unfinished run, and the last that took feedback in, are among the latest.
_RECENT: Final = 200


def retrain_on_feedback(
    blobs: BlobStore, runs: Runs, intake: Intake, clock: Clock, *, model: str, hub: str, min_events: int
) -> str | None:
    """The run that was started for the new feedback in the archive of `hub`; None if there is no need.

    There is none with fewer than `min_events` new events, nor while a run of training is unfinished: the next call
    looks again. Called twice within a second, one run is started.
    """
    recent = [run for run in runs.latest(_RECENT) if run.kind == RunKind.TRAIN]
    if any(not run.stage.is_end for run in recent):
        return None
    taken = next((run.feedback for run in recent if run.feedback), {})
    archived = _archived_through(blobs, hub)
    new = sum(max(0, through - taken.get(partition, -1)) for partition, through in archived.items())
    if new < max(1, min_events):
        return None
    id = run_id(clock.now(), "schedule")
    if not runs.open(RunKind.TRAIN, id, model=model, detail=f"by schedule: {new} new events of feedback"):
        return None
    intake.ask(id)
    return id


def _archived_through(blobs: BlobStore, hub: str) -> dict[str, int]:
    """Last offset in the feedback archive of `hub`, by partition."""
    through: dict[str, int] = {}
    for info in blobs.list(feedback_prefix(hub)):
        partition = info.name.split("/")[-2]
        through[partition] = max(through.get(partition, -1), int(info.metadata.get(THROUGH, -1)))
    return through
