"""How long a film will take on this machine, by a measurement of a few seconds."""

import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.contracts.film import FilmPlan
from models.style.library import Style
from video.crew import Crew, Job

_MOST_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """`rate`: frames per second of one worker beside the others; `start_s`: until the first frames are made."""

    rate: float
    start_s: float


class _Enough(Exception):
    """The measurement is over."""


def measure(source: Path, plan: FilmPlan, style: Style, *, workers: int) -> Estimate:
    """What `workers` processes do with the film, as whoever makes it starts them; some seconds of it are made.

    Decoding, network and encoding included. Processes on the same cores hinder each other: ask for as many as there
    will be. Raises as making the film does.
    """
    workers = min(workers, len(plan.segments))
    moments: list[tuple[float, int]] = [(time.monotonic(), 0)]

    def progress(frames: int) -> None:
        if frames > moments[-1][1]:
            moments.append((time.monotonic(), frames))
        if len(moments) > 2 and moments[-1][0] - moments[1][0] > _MOST_S:
            raise _Enough

    with (
        contextlib.suppress(_Enough),
        tempfile.TemporaryDirectory(prefix="penstock-") as folder,
        Crew(Job(source, plan, style, Path(folder), threads=1), workers) as crew,
    ):
        crew.make(_from_the_middle(len(plan.segments)), progress)
    # The first frames wait for networks to open; a film of few has nothing else.
    begun = moments[1] if len(moments) > 2 else moments[0]
    seconds = max(moments[-1][0] - begun[0], 1e-6)
    return Estimate((moments[-1][1] - begun[1]) / seconds / workers, begun[0] - moments[0][0])


def _from_the_middle(segments: int) -> Sequence[int]:
    """All numbers, those of the film's middle first: its beginning is often not like the rest."""
    return [*range(segments // 2, segments), *range(segments // 2)]
