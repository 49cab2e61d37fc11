"""What the steps of a job ask of a film."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from models.contracts.film import FilmOptions, FilmPlan


class Pipeline(Protocol):
    """Plans a film, makes its segments and joins them. One thread uses it at a time."""

    def plan(self, source: Path, options: FilmOptions) -> FilmPlan:
        """The plan, with the version of the style's network. Raises BadInput with a reason for people."""
        ...

    def segment(
        self,
        source: Path,
        plan: FilmPlan,
        index: int,
        *,
        progress: Callable[[int], None],
        stopped: threading.Event,
    ) -> bytes:
        """Segment `index`, stylised and encoded; `progress` is told of frames. Raises once `stopped` is set."""
        ...

    @property
    def runtime(self) -> str:
        """What the network of the last segment ran on, with its precision."""
        ...

    def join(self, source: Path, plan: FilmPlan, segments: Sequence[Path], out: Path) -> None:
        """Write the film of all segments, with what is kept of the source, to `out`."""
        ...
