"""ONNX Runtime: on the CPU, and on a GPU by its CUDA or TensorRT provider with fixed addresses."""

import contextlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from models.inference.sessions import runtime
from models.style.graph import FRAMES, MEAN, STYLED

if TYPE_CHECKING:
    from onnx import ModelProto

log = logging.getLogger(__name__)

GpuPrecision = Literal["fp16", "tf32", "fp32"]
"""Of the arithmetic on a GPU. tf32: a graph in float32, whose products are rounded to the 10 bits of float16."""

_CUDA: Final = "CUDAExecutionProvider"
_TENSORRT: Final = "TensorrtExecutionProvider"
_CPU: Final = "CPUExecutionProvider"

_Frames = npt.NDArray[np.uint8]


class Unusable(RuntimeError):
    """The device or its runtime is at fault, and not the network."""


def installed() -> list[str]:
    """Of tensorrt, cuda and cpu, those that the installed wheel has; whether they start is another matter."""
    try:
        ort = runtime()
    except ImportError:
        return []
    there = ort.get_available_providers()
    return [name for name, each in (("tensorrt", _TENSORRT), ("cuda", _CUDA), ("cpu", _CPU)) if each in there]


class CpuRunner:
    """A graph on the CPU, in fp32, by `threads` threads. Raises RuntimeError if ONNX Runtime does not take it."""

    def __init__(self, model: "ModelProto", *, threads: int) -> None:
        ort = runtime()
        self._session = _session(model, [_CPU], threads)
        self._name = f"ONNX Runtime {ort.__version__}, CPU, fp32"

    def run(self, frames: _Frames) -> tuple[_Frames, npt.NDArray[np.float32]]:
        """Styled frames and the mean of each."""
        styled, mean = self._session.run([STYLED, MEAN], {FRAMES: frames})
        return styled, mean

    def describe(self) -> str:
        """Runtime, device and precision."""
        return self._name


class BoundRunner:
    """A graph on a device, its input and outputs at addresses that never change: CUDA graphs ask for that.

    Only bytes cross the bus: 3 per pixel in, 3 out. `device` "cpu" binds in main memory, for tests.
    """

    def __init__(self, session: Any, name: str, *, device: str = "cuda") -> None:
        ort = runtime()
        values = ort.OrtValue
        shape = session.get_inputs()[0].shape
        outputs = {each.name: each.shape for each in session.get_outputs()}
        self._session, self._name = session, name
        self._frames = values.ortvalue_from_numpy(np.zeros(shape, np.uint8), device, 0)
        self._styled = values.ortvalue_from_shape_and_type(outputs[STYLED], np.uint8, device, 0)
        self._mean = values.ortvalue_from_shape_and_type(outputs[MEAN], np.float32, device, 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(FRAMES, self._frames)
        self._binding.bind_ortvalue_output(STYLED, self._styled)
        self._binding.bind_ortvalue_output(MEAN, self._mean)

    def run(self, frames: _Frames) -> tuple[_Frames, npt.NDArray[np.float32]]:
        """Styled frames and the mean of each."""
        self._frames.update_inplace(np.ascontiguousarray(frames))
        self._session.run_with_iobinding(self._binding)
        return self._styled.numpy(), self._mean.numpy()

    def describe(self) -> str:
        """Runtime, device and precision."""
        return self._name


def start_gpu(
    provider: str, model: "ModelProto", frames: _Frames, *, precision: GpuPrecision, cache: Path | None
) -> tuple[BoundRunner, tuple[_Frames, npt.NDArray[np.float32]]]:
    """`model` on the first GPU, and what it makes of `frames`: it has run when this returns.

    `precision` is that of the graph. `cache`: the folder where TensorRT keeps its engines. Raises Unusable if the
    provider does not start there, RuntimeError if it does not take or run the graph.
    """
    _find_cuda()
    # A graph with a node that only runs on the CPU cannot be captured, which shows when the session is made; other
    # reasons show in the first run, which records. It runs all the same.
    try:
        return _started(provider, model, frames, precision=precision, captured=True, cache=cache)
    except Unusable:
        raise
    except RuntimeError as error:
        log.info("%s without CUDA graphs: %s", provider, error)
    return _started(provider, model, frames, precision=precision, captured=False, cache=cache)


def _started(
    provider: str,
    model: "ModelProto",
    frames: _Frames,
    *,
    precision: GpuPrecision,
    captured: bool,
    cache: Path | None,
) -> tuple[BoundRunner, tuple[_Frames, npt.NDArray[np.float32]]]:
    wanted = _TENSORRT if provider == "tensorrt" else _CUDA
    options = gpu_options(provider, precision=precision, captured=captured, cache=cache)
    session = _session(model, options, 1)
    if session.get_providers()[0] != wanted:
        # ONNX Runtime goes on without a provider whose libraries or device are missing.
        raise Unusable(f"{wanted} does not start on this machine")
    name = f"ONNX Runtime {runtime().__version__}, {wanted.removesuffix('ExecutionProvider')}, {precision}"
    try:
        runner = BoundRunner(session, name)
        runner.run(frames)
        return runner, runner.run(frames)  # the first run records, the second one replays
    except Exception as error:  # a class per fault, all made in C++
        raise RuntimeError(str(error)) from error


def _find_cuda() -> None:
    """Load CUDA's and cuDNN's libraries out of their wheels, where they came as wheels; else the system has them."""
    preload = getattr(runtime(), "preload_dlls", None)
    if preload is not None:
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
            preload()


def gpu_options(provider: str, *, precision: GpuPrecision, captured: bool, cache: Path | None) -> list[Any]:
    """The providers of a session, best first, with their options; `captured`: replay a recorded CUDA graph."""
    cuda = (
        _CUDA,
        {
            "device_id": "0",
            "enable_cuda_graph": "1" if captured and provider == "cuda" else "0",
            "cudnn_conv_algo_search": "EXHAUSTIVE",  # sizes never change: the search is paid once
            "cudnn_conv_use_max_workspace": "1",
            "prefer_nhwc": "1",  # the layout of tensor cores
            "use_tf32": "0" if precision == "fp32" else "1",
        },
    )
    if provider == "cuda":
        return [cuda, _CPU]
    tensorrt = {
        "device_id": "0",
        "trt_fp16_enable": "1" if precision == "fp16" else "0",
        "trt_cuda_graph_enable": "1" if captured else "0",
    }
    if cache is not None:
        # Building an engine takes minutes, loading one a second.
        tensorrt |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
        }
    return [(_TENSORRT, tensorrt), cuda, _CPU]


def run_once(model: "ModelProto", inputs: dict[str, npt.NDArray[Any]], output: str) -> npt.NDArray[Any]:
    """One output of the bare graph, on the CPU. Raises RuntimeError."""
    session = _session(model, [_CPU], 1)
    try:
        result: npt.NDArray[Any] = session.run([output], inputs)[0]
    except Exception as error:  # a class per fault, all made in C++
        raise RuntimeError(str(error)) from error
    return result


def _session(model: "ModelProto", providers: list[Any], threads: int) -> Any:
    """A session of the graph. Raises RuntimeError, whatever class of ONNX Runtime's it was."""
    ort = runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait must sleep: decoding and encoding share the cores with them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what fails is raised too
    try:
        # Without its own fall-back, which would print the error and go on with other providers.
        return ort.InferenceSession(model.SerializeToString(), options, providers=providers, enable_fallback=0)
    except Exception as error:  # a class per fault, all made in C++
        raise RuntimeError(str(error)) from error
