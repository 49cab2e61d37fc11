"""What `GET /api/runs` and `GET /api/runs/{id}` answer."""

from collections.abc import Mapping
from typing import Final

import msgspec

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
    limit, kind = _limit(parameters.get("limit")), parameters.get("kind")
    if kind is not None and kind not in set(RunKind):
        raise BadInput(f"kind: expected {' or '.join(RunKind)}, got {kind[:40]!r}")
    if kind is None:
        return RunList(runs.latest(limit))
    return RunList([run for run in runs.latest() if run.kind == kind][:limit])


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MOST)) and 0 < int(text) <= _MOST):
        raise BadInput(f"limit: expected a number between 1 and {_MOST}, got {text[:40]!r}")
    return int(text)
