"""Every network that ships, on each runtime, against PyTorch with the same weights."""

from importlib.resources import files

import numpy as np
import numpy.typing as npt
import pytest
import torch
from onnx import ModelProto

from models.style.core import load_core
from models.style.graph import FRAMES, STYLED, Framing, wrap
from models.style.half import halved
from models.style.library import Listed, StyleLibrary
from models.style.openvino_runner import OpenVinoRunner
from models.style.openvino_runner import installed as openvino_installed
from models.style.ort_runner import CpuRunner, run_once
from tests.unit.halves import rounding
from tests.unit.styles import picture
from training.style.graph import network_of

_LIBRARY = StyleLibrary(files("video") / "styles")
_SIZE = (128, 192)

shipped = pytest.mark.parametrize(
    "listed", _LIBRARY.styles(), ids=lambda each: f"{each.manifest.style}-{each.manifest.quality}"
)


def wanted(graph: bytes, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """What PyTorch makes of uint8 [n, h, w, 3], in 0..255, before rounding."""
    with torch.inference_mode():
        value = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float() / 255
        styled = (network_of(graph)(value) * 255).clamp(0, 255).double().numpy()
    result: npt.NDArray[np.float64] = styled.transpose(0, 2, 3, 1)
    return result


def psnr(got: npt.NDArray[np.uint8], want: npt.NDArray[np.float64]) -> float:
    return float(10 * np.log10(255**2 / np.mean((got - want) ** 2)))


@shipped
def test_a_shipped_network_gives_torch_s_picture_on_every_runtime(listed: Listed) -> None:
    style = _LIBRARY.open(listed.manifest.style, listed.manifest.quality, listed.version)
    core = load_core(style.graph, style.manifest)
    frames = picture(*_SIZE)
    want = wanted(style.graph, frames)
    framing = Framing(_SIZE, _SIZE)
    whole = wrap(core, style.manifest, framing, batch=1)
    assert np.abs(CpuRunner(whole, threads=1).run(frames)[0] - want).max() <= 1
    narrow = wrap(*halved(core, style.manifest), framing, batch=1).SerializeToString()
    assert psnr(run_once(ModelProto.FromString(rounding(narrow)), {FRAMES: frames}, STYLED), want) >= 40
    if openvino_installed():
        assert psnr(OpenVinoRunner(whole, threads=1, bf16=True).run(frames)[0], want) >= 35
