"""A network on a GPU: in half precision where that gives the picture of fp32, else at the GPU's next better one.

Half precision ends at 65504. Whether a network's values stay below, only running it tells: it is tried on a picture
when it is opened, and given up for good where later frames overflow.
"""

import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from models.errors import ModelRefused
from models.style.core import first_line
from models.style.graph import Framing, wrap
from models.style.half import halved
from models.style.manifest import StyleManifest
from models.style.ort_runner import BoundRunner, CpuRunner, GpuPrecision, Unusable, start_gpu

if TYPE_CHECKING:
    from onnx import ModelProto

log = logging.getLogger(__name__)

LEAST_PSNR_DB: Final = 30.0
"""Sound networks come to more than 40; what is below has other colours or holes."""
_BLOCK: Final = 16

_Frames = npt.NDArray[np.uint8]


class Reference:
    """What the CPU makes of a picture in fp32, computed when it is first asked for."""

    def __init__(self, core: "ModelProto", manifest: StyleManifest, framing: Framing, *, threads: int) -> None:
        self._network = core, manifest, framing
        self._threads = threads
        self.source = probe(*framing.source)

    @cached_property
    def styled(self) -> _Frames | None:
        """uint8 [H, W, 3], or None if the network gives values that are not finite there either.

        Raises RuntimeError if the network cannot be run.
        """
        core, manifest, framing = self._network
        styled, mean = CpuRunner(wrap(core, manifest, framing, batch=1), threads=self._threads).run(self.source)
        return styled[0] if np.isfinite(mean).all() else None


class GpuRunner:
    """A network on the first GPU, by ONNX Runtime's provider `provider`. What it gives was seen to be right.

    half: whether half precision may be used. Raises Unusable if the provider does not start, does not run the network
    or gives other pictures than the reference; RuntimeError if the CPU cannot run it either.
    """

    def __init__(
        self,
        provider: str,
        core: "ModelProto",
        manifest: StyleManifest,
        framing: Framing,
        reference: Reference,
        *,
        batch: int,
        half: bool,
        cache: Path | None,
    ) -> None:
        self._provider, self._core, self._manifest, self._framing = provider, core, manifest, framing
        self._reference, self._batch, self._cache = reference, batch, cache
        self._precision: GpuPrecision = "fp32"
        self._note = ""
        self._runner = self._in_half() if half else self._in_full("fp32")

    def run(self, frames: _Frames) -> tuple[_Frames, npt.NDArray[np.float32]]:
        """Styled frames and the mean of each."""
        styled, mean = self._runner.run(frames)
        if self._precision == "fp16" and self._reference.styled is not None and not np.isfinite(mean).all():
            del self._runner  # two would not fit where one only just does
            self._runner = self._instead("a frame overflows")
            return self._runner.run(frames)
        return styled, mean

    def describe(self) -> str:
        """Runtime, device and precision."""
        return f"{self._runner.describe()}{self._note}"

    def _in_half(self) -> BoundRunner:
        try:
            core, manifest = halved(self._core, self._manifest)
            runner, complaint = self._start(core, manifest, "fp16")
        except Unusable:
            raise
        except (ModelRefused, RuntimeError) as error:
            complaint = str(error)
        else:
            if not complaint:
                return runner
            del runner  # two would not fit where one only just does
        return self._instead(complaint)

    def _instead(self, why: str) -> BoundRunner:
        """With tensor cores all the same: their products in float32 are as fine as those of half precision."""
        self._note = f" (not fp16: {first_line(why)})"
        log.warning("style %s, %s: %s", self._manifest.style, self._manifest.quality, self._note.strip(" ()"))
        return self._in_full("tf32")

    def _in_full(self, precision: GpuPrecision) -> BoundRunner:
        try:
            runner, complaint = self._start(self._core, self._manifest, precision)
        except Unusable:
            raise
        except RuntimeError as error:
            _ = self._reference.styled  # raises what is the network's own fault
            raise Unusable(str(error)) from error
        if complaint:
            raise Unusable(complaint)
        return runner

    def _start(self, core: "ModelProto", manifest: StyleManifest, precision: GpuPrecision) -> tuple[BoundRunner, str]:
        """The graph on the GPU, and what is wrong with its picture, if anything is."""
        model = wrap(core, manifest, self._framing, batch=self._batch)
        frames = np.repeat(self._reference.source, self._batch, axis=0)
        runner, (styled, mean) = start_gpu(self._provider, model, frames, precision=precision, cache=self._cache)
        self._precision = precision
        wanted = self._reference.styled
        if wanted is None:  # a network that gives no numbers anywhere is named when it meets the film
            return runner, ""
        if not np.isfinite(mean).all():
            return runner, "values overflow"
        if (found := min(_psnr(each, wanted) for each in styled)) < LEAST_PSNR_DB:
            return runner, f"its picture is {found:.0f} dB from that of the CPU, expected {LEAST_PSNR_DB:g}"
        return runner, ""


def probe(height: int, width: int) -> _Frames:
    """uint8 [1, height, width, 3], always the same: blocks of the strongest colours, and noise below them."""
    random = np.random.default_rng(0)
    blocks = 255 * random.integers(0, 2, (height // _BLOCK + 1, width // _BLOCK + 1, 3), dtype=np.uint8)
    frame = blocks.repeat(_BLOCK, axis=0)[:height].repeat(_BLOCK, axis=1)[:, :width].copy()
    lower = frame[height // 2 :]
    lower[:] = random.integers(0, 256, lower.shape, dtype=np.uint8)
    return frame[None]


def _psnr(got: _Frames, wanted: _Frames) -> float:
    error = np.mean((got.astype(np.float32) - wanted) ** 2)
    return float(10 * np.log10(255**2 / max(float(error), 1e-9)))
