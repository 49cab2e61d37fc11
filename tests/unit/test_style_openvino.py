"""OpenVINO against PyTorch and beside ONNX Runtime, where it is installed."""

import subprocess
import sys

import numpy as np
import pytest

from models.contracts.film import FilmOptions
from models.errors import BadInput
from models.style.core import load_core
from models.style.graph import Framing, wrap
from models.style.network import open_network
from tests.unit.styles import Painter, identity, manifest_of, model_of, picture

pytest.importorskip("openvino")
from onnx import helper

from models.style.openvino_runner import OpenVinoRunner


@pytest.mark.parametrize(("bf16", "least_db"), [(False, 55.0), (True, 35.0)])
def test_the_picture_is_that_of_torch_as_closely_as_the_precision_allows(bf16: bool, least_db: float) -> None:
    painter = Painter(8)
    graph = painter.onnx()
    manifest = manifest_of(graph, multiple=2)
    frames = picture(128, 192)
    wrapped = wrap(load_core(graph, manifest), manifest, Framing((128, 192), (128, 192)), batch=1)
    runner = OpenVinoRunner(wrapped, threads=1, bf16=bf16)
    styled, _ = runner.run(frames)
    wanted = painter.torch(frames)
    assert 10 * np.log10(255**2 / np.mean((styled - wanted) ** 2)) >= least_db
    if not bf16:
        assert np.abs(styled - wanted).max() <= 1


def test_frames_stay_as_they_were_given_when_the_next_come() -> None:
    graph = identity()
    options = FilmOptions(style="toy")
    network = open_network(graph, manifest_of(graph), height=40, width=50, options=options, providers=["openvino"])
    first, second = picture(40, 50, seed=1), picture(40, 50, seed=2)
    kept = network(first)
    assert np.abs(network(second).astype(int) - second).max() <= 1
    assert np.abs(kept.astype(int) - first).max() <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_found(value: float) -> None:
    nodes = [
        helper.make_node("Greater", ["image", "limit"], ["white"]),
        helper.make_node("Where", ["white", "value", "image"], ["styled"]),
    ]
    graph = model_of(nodes, {"limit": np.float32(0.999), "value": np.float32(value)}).SerializeToString()
    options = FilmOptions(style="toy")
    network = open_network(graph, manifest_of(graph), height=40, width=40, options=options, providers=["openvino"])
    frames = np.minimum(picture(40, 40), 250)
    network(frames)
    frames[0, 39, 39, 2] = 255
    with pytest.raises(BadInput, match="not finite"):
        network(frames)


def test_resizing_cropping_and_blending_are_those_of_onnx_runtime() -> None:
    painter = Painter().onnx()
    manifest = manifest_of(painter, multiple=4)
    options = FilmOptions(style="toy", scale=0.6, strength=0.7, size="101x67")
    frames = picture(90, 130)
    ours, theirs = (
        open_network(painter, manifest, height=90, width=130, options=options, providers=[each])(frames)
        for each in ("openvino", "cpu")
    )
    assert np.mean((ours.astype(float) - theirs) ** 2) < 255**2 / 10**3.5


def test_openvino_is_brought_in_without_what_tells_its_makers_of_its_use() -> None:
    ask = "import sys; from models.style.openvino_runner import _runtime; _runtime(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert "openvino" in done.stdout.split()
    assert not [name for name in done.stdout.split() if name.startswith("openvino_telemetry.")]


def test_fp32_means_fp32_whatever_the_cpu_has_units_for() -> None:
    graph = identity()
    options = FilmOptions(style="toy")
    network = open_network(
        graph, manifest_of(graph), height=40, width=50, options=options, providers=["openvino"], precision="fp32"
    )
    assert network.describe().endswith("CPU, fp32")
