"""The pipeline of real films: PyAV, and the network of a style."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from models.contracts.film import FilmOptions, FilmPlan, Limits
from models.style.library import StyleLibrary
from models.style.network import Network, open_network
from models.style.runtimes import Precision
from video.join import join_film
from video.plan import plan_film
from video.segment import make_segment

log = logging.getLogger(__name__)


@dataclass
class FilmPipeline:
    """Films by PyAV, networks by the style library. Keeps the network that it used last."""

    styles: StyleLibrary
    limits: Limits
    segment_s: float
    threads: int
    cache: Path
    """For what the runtimes of networks compile."""
    providers: Sequence[str] | None = None
    precision: Precision = "best"
    _key: tuple[object, ...] = ()
    _network: Network | None = field(default=None, repr=False)

    def plan(self, source: Path, options: FilmOptions) -> FilmPlan:
        """The plan, with the version of the style's network."""
        style = self.styles.find(options.style, options.quality)
        plan = plan_film(source, options, self.limits, segment_seconds=self.segment_s)
        return msgspec.structs.replace(plan, style_version=style.version)

    def segment(
        self,
        source: Path,
        plan: FilmPlan,
        index: int,
        *,
        progress: Callable[[int], None],
        stopped: threading.Event,
    ) -> bytes:
        """Segment `index`, stylised and encoded."""
        return make_segment(source, plan, index, self._open(plan), progress=progress, stopped=stopped)

    def join(self, source: Path, plan: FilmPlan, segments: Sequence[Path], out: Path) -> None:
        """Write the film of all segments, with what is kept of the source, to `out`."""
        log.info("%s", join_film(source, plan, segments, out))

    @property
    def runtime(self) -> str:
        """What the last segment's network ran on."""
        return "" if self._network is None else self._network.describe()

    def _open(self, plan: FilmPlan) -> Network:
        key = (plan.style_version, plan.options, plan.source.height, plan.source.width)
        if self._network is None or self._key != key:
            self._network = None  # first, so that two never take memory at once
            style = self.styles.open(plan.options.style, plan.options.quality, plan.style_version)
            self._network = open_network(
                style.graph,
                style.manifest,
                height=plan.source.height,
                width=plan.source.width,
                options=plan.options,
                threads=self.threads,
                providers=self.providers,
                precision=self.precision,
                cache=self.cache,
            )
            self._key = key
            log.info("style %s %s: %s", plan.options.style, plan.style_version, self._network.describe())
        return self._network
