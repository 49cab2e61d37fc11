"""What `GET /api/runs` and `GET /api/runs/{id}` answer."""

from collections.abc import Mapping
from typing import Final

import msgspec

from functions.parameters import brief, number_of
from models.contracts.runs import Run, RunKind
from models.errors import BadInput
from models.runs import Runs

_MOST: Final = 1000
_DEFAULT: Final = 20


class RunList(msgspec.Struct, frozen=True):
    """Body of `GET /api/runs`: the latest first."""

    runs: list[Run]


def list_runs(parameters: Mapping[str, str], runs: Runs) -> RunList:
    """Runs by `kind` and `limit`. Raises BadInput for a value that is none."""
    limit, kind = number_of(parameters, "limit", default=_DEFAULT, most=_MOST), parameters.get("kind")
    if kind is not None and kind not in set(RunKind):
        raise BadInput(f"kind: expected {' or '.join(RunKind)}, got {brief(kind)}")
    if kind is None:
        return RunList(runs.latest(limit))
    return RunList([run for run in runs.latest() if run.kind == kind][:limit])
