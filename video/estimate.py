"""How long a film will take on a machine like this one, by a measurement of a few seconds."""

import contextlib
import threading
import time
from pathlib import Path
from typing import Final

from models.contracts.film import FilmOptions, Limits
from models.style.library import Style
from models.style.network import open_network
from video.plan import plan_film
from video.segment import Stopped, make_segment

_FRAMES: Final = 48
_MOST_S: Final = 5.0


def measured_rate(source: Path, style: Style, options: FilmOptions, *, limits: Limits | None = None) -> float:
    """Frames per second of one worker with one thread on the middle of the film: decoding and encoding included."""
    plan = plan_film(source, options, limits or Limits(), segment_frames=_FRAMES)
    network = open_network(
        style.graph, style.manifest, height=plan.source.height, width=plan.source.width, options=options, threads=1
    )
    stopped = threading.Event()
    moments: list[tuple[float, int]] = [(time.monotonic(), 0)]

    def progress(frames: int) -> None:
        moments.append((time.monotonic(), frames))
        if moments[-1][0] - moments[0][0] > _MOST_S:
            stopped.set()

    with contextlib.suppress(Stopped):
        make_segment(source, plan, len(plan.segments) // 2, network, progress=progress, stopped=stopped)
    # The first frames wait for decoding to begin; a film of few has nothing else.
    begun = moments[1] if len(moments) > 2 else moments[0]
    seconds = moments[-1][0] - begun[0]
    return (moments[-1][1] - begun[1]) / max(seconds, 1e-6)
