"""OpenVINO: the fastest runtime for these networks on CPUs, in bf16 where the CPU has units for it."""

import importlib.util
import io
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.style.graph import FRAMES, MEAN, STYLED

if TYPE_CHECKING:
    from onnx import ModelProto

_Frames = npt.NDArray[np.uint8]


def installed() -> list[str]:
    """`openvino`, if the package is there."""
    return ["openvino"] if importlib.util.find_spec("openvino") else []


def _runtime() -> Any:
    """The module `openvino`, without its telemetry: at import that would send an event, from a fork of this process,
    which may hang there for ever. OpenVINO takes a stand-in of its own where that package is missing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # how Python marks a missing one
    import openvino

    return openvino


class OpenVinoRunner:
    """A graph on the CPU, by `threads` threads. Raises RuntimeError if OpenVINO does not take it.

    bf16: None for what the CPU has units for.
    """

    def __init__(self, model: "ModelProto", *, threads: int, bf16: bool | None = None) -> None:
        openvino = _runtime()
        core = openvino.Core()
        if bf16 is None:
            bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Every process would pin its threads to the same first cores.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(core.read_model(io.BytesIO(model.SerializeToString())), "CPU", settings)
        self._request = compiled.create_infer_request()
        version = openvino.get_version().partition("-")[0]
        self._name = f"OpenVINO {version}, CPU, {'bf16' if bf16 else 'fp32'}"

    def run(self, frames: _Frames) -> tuple[_Frames, npt.NDArray[np.float32]]:
        """Styled frames and the mean of each."""
        # Outputs are copied: the next call would write over frames that are still being encoded.
        results = self._request.infer({FRAMES: np.ascontiguousarray(frames)}, share_inputs=True, share_outputs=False)
        return results[STYLED], results[MEAN]

    def describe(self) -> str:
        """Runtime, device and precision."""
        return self._name
