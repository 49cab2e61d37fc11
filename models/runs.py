"""Run records in the state store: container `runs`, one document per run, changed by compare-and-set.

Beside each run that has not ended lies a mark, which comes and goes in the same transactions: so those are found
however many there are.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from models.contracts.runs import Run, RunKind, RunStage, Stage
from models.errors import BadInput
from models.ports import Clock, StateStore
from models.records import Records, stamped_id

CONTAINER: Final = "runs"
run_id: Final = stamped_id


class Runs:
    """Opens, reads and advances runs. Holds no state of its own: safe to share between threads."""

    def __init__(self, state: StateStore, clock: Clock) -> None:
        self._clock = clock
        self._records = Records(
            state,
            CONTAINER,
            Run,
            ended=lambda run: run.stage.is_end,
            what="run",
            hint="penstock runs list",
            marked=True,
        )

    def open(
        self,
        kind: RunKind,
        id: str,
        *,
        model: str,
        source: str = "",
        etag: str = "",
        detail: str = "",
        retries: Sequence[str] = (),
        anyway: bool = False,
    ) -> bool:
        """Record a run as received; False, and nothing changed, if it is known already."""
        now = self._clock.now()
        run = Run(
            id=id,
            kind=kind,
            model=model,
            source=source,
            etag=etag,
            retries=list(retries),
            anyway=anyway,
            stages=[RunStage(Stage.RECEIVED, now, detail)],
            asked_at=now,
        )
        return self._records.create(id, run)

    def get(self, id: str) -> Run:
        """The run. Raises NotFound, Damaged."""
        return self._records.get(id)

    def latest(self, limit: int | None = None) -> list[Run]:
        """Runs, the latest first."""
        return self._records.latest(limit)

    def unfinished(self) -> list[Run]:
        """All runs that have not ended, the latest first. Costs one query, and a look at each of them."""
        return self._records.read_unfinished()[::-1]

    def advance(self, id: str, stage: Stage, detail: str = "", **facts: Any) -> Run:
        """The run with `stage` added and the fields `facts` set. A run that has ended stays as it is."""
        reached = RunStage(stage, self._clock.now(), detail)
        return self.change(id, lambda run: msgspec.structs.replace(run, stages=[*run.stages, reached], **facts))

    def change(self, id: str, change: Callable[[Run], Run]) -> Run:
        """The run after `change`, which is called again if another process changed it meanwhile.

        A run that has ended stays as it is. Raises NotFound.
        """
        return self._records.change(id, change)

    def withdraw(self, id: str, detail: str) -> Run:
        """The run, which was promoted, as withdrawn. Safe to repeat. Raises NotFound, BadInput for any other run."""

        def withdrawn(run: Run) -> Run:
            if run.stage == Stage.WITHDRAWN:
                return run
            if run.stage != Stage.PROMOTED:
                raise BadInput(f"run {id}: expected one that was promoted, got one that is {run.stage}")
            reached = RunStage(Stage.WITHDRAWN, self._clock.now(), detail)
            return msgspec.structs.replace(run, stages=[*run.stages, reached])

        return self._records.change(id, withdrawn, even_ended=True)
