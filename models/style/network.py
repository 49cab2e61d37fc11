"""A style's network, ready for frames of one size, on the best runtime that the machine has.

tensorrt, cuda   ONNX Runtime's GPU providers (`onnxruntime-gpu`), in half precision where the network bears it
openvino         on CPUs, where the package is installed: bf16 where the CPU has units for it, else fp32
cpu              ONNX Runtime, fp32
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import numpy.typing as npt

from models.contracts.film import FilmOptions
from models.errors import BadInput, ConfigurationError, ModelRefused
from models.filmlimits import size_of
from models.style import openvino_runner, ort_runner
from models.style.core import first_line, fixed_batch, load_core
from models.style.gpu import GpuRunner, Reference
from models.style.graph import Framing, wrap
from models.style.manifest import StyleManifest
from models.style.runtimes import PROVIDERS, Precision, providers_of

if TYPE_CHECKING:
    from onnx import ModelProto

log = logging.getLogger(__name__)

# A GPU wants several frames at once, as far as its memory allows; on a CPU a batch gains nothing and costs memory.
_GPU_BATCH: Final = 4
_GPU_PIXELS: Final = 4 * 1920 * 1080

_Frames = npt.NDArray[np.uint8]


class Runner(Protocol):
    """A compiled graph of models.style.graph."""

    def run(self, frames: _Frames) -> tuple[_Frames, npt.NDArray[np.float32]]:
        """Styled frames and the mean of each, for exactly the number of frames that it was compiled for."""
        ...

    def describe(self) -> str:
        """Runtime, device and precision, for logs and people."""
        ...


class Network:
    """Restyles frames. One thread calls it at a time; `batch` is the most frames of a call, and the best number."""

    def __init__(self, runner: Runner, style: str, *, batch: int, frame: tuple[int, int]) -> None:
        self.batch = batch
        self._runner = runner
        self._style = style
        self._frame = frame

    def __call__(self, frames: _Frames) -> _Frames:
        """uint8 [n, h, w, 3] RGB to uint8 [n, H, W, 3] RGB, 1 <= n <= batch; equal frames give equal pictures.

        Raises BadInput if the network gives NaN or infinity.
        """
        count = len(frames)
        if frames.dtype != np.uint8 or frames.shape[1:] != (*self._frame, 3) or not 1 <= count <= self.batch:
            expected = f"uint8 1..{self.batch} x {self._frame[0]} x {self._frame[1]} x 3"
            raise ValueError(f"frames: expected {expected}, got {frames.dtype} {' x '.join(map(str, frames.shape))}")
        if count < self.batch:  # sizes are fixed: a short batch is filled up
            frames = np.concatenate([frames, np.repeat(frames[-1:], self.batch - count, axis=0)])
        styled, mean = self._runner.run(frames)
        if not np.isfinite(mean[:count]).all():
            raise BadInput(
                f"style {self._style}: the network gave values that are not finite; it is broken, or overflows in "
                f"{self.describe()}: choose another style or quality"
            )
        return styled[:count]

    def describe(self) -> str:
        """Runtime, device and precision, for logs and people."""
        return self._runner.describe()


def open_network(
    graph: bytes,
    manifest: StyleManifest,
    *,
    height: int,
    width: int,
    options: FilmOptions,
    threads: int = 1,
    batch: int | None = None,
    providers: Sequence[str] | None = None,
    precision: Precision = "best",
    cache: Path | None = None,
) -> Network:
    """The network for frames of `height` x `width`, at the scale, strength and size of `options`.

    batch: None for what suits the device. providers: of PROVIDERS, the first that starts is taken; None: all that
    are installed, best first. cache: a folder for what runtimes compile. Raises ModelRefused for a graph that must
    not or cannot be run, ConfigurationError if none of the providers is installed and works.
    """
    across, down = size_of(options.size) if options.size else (width, height)
    framing = Framing((height, width), (down, across), options.scale, options.strength)
    core = load_core(graph, manifest)
    reference = Reference(core, manifest, framing, threads=threads)
    refused: list[str] = []
    unusable: list[str] = []
    for provider in _chosen(providers):
        size = 1 if fixed_batch(core, manifest) else batch or _batch(provider, framing)
        try:
            runner = _open(
                provider, core, manifest, framing, reference,
                batch=size, threads=threads, precision=precision, cache=cache,
            )  # fmt: skip
        except RuntimeError as error:  # what each runtime raises, whatever is wrong
            why = f"{provider}: {first_line(error)}"
            (unusable if isinstance(error, ort_runner.Unusable) else refused).append(why)
            log.info("style %s: not by %s", manifest.style, why)
        else:
            return Network(runner, manifest.style, batch=size, frame=(height, width))
    if not refused:
        raise ConfigurationError(f"no runtime for networks works on this machine: {'; '.join(unusable)}")
    raise ModelRefused(f"{manifest.file}: no runtime takes this network: {'; '.join([*unusable, *refused])}")


def _batch(provider: str, framing: Framing) -> int:
    if provider not in ("tensorrt", "cuda"):
        return 1
    height, width = framing.output
    return max(1, min(_GPU_BATCH, _GPU_PIXELS // (height * width)))


def installed() -> list[str]:
    """Of PROVIDERS, those whose packages are installed, best first."""
    there = {*ort_runner.installed(), *openvino_runner.installed()}
    return [provider for provider in PROVIDERS if provider in there]


def _chosen(wanted: Sequence[str] | None) -> list[str]:
    wanted = providers_of(",".join(wanted or ()))
    there = installed()
    chosen = [provider for provider in wanted or there if provider in there]
    if not chosen:
        raise ConfigurationError(
            f"no runtime for networks: wanted {', '.join(wanted or PROVIDERS)}, installed are "
            f"{', '.join(there) or 'none'}; install onnxruntime, openvino or onnxruntime-gpu"
        )
    return chosen


def _open(
    provider: str,
    core: "ModelProto",
    manifest: StyleManifest,
    framing: Framing,
    reference: Reference,
    *,
    batch: int,
    threads: int,
    precision: Precision,
    cache: Path | None,
) -> Runner:
    half = precision == "best"
    if provider == "openvino":
        model = wrap(core, manifest, framing, batch=batch)
        return openvino_runner.OpenVinoRunner(model, threads=threads, bf16=None if half else False)
    if provider == "cpu":
        return ort_runner.CpuRunner(wrap(core, manifest, framing, batch=batch), threads=threads)
    if provider == "tensorrt" and not half:
        raise ort_runner.Unusable("TensorRT rounds products to TF32; for fp32 there is cuda")
    return GpuRunner(provider, core, manifest, framing, reference, batch=batch, half=half, cache=cache)
