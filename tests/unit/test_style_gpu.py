"""Networks on a GPU whose runtime is a stand-in: what it is asked for, and what becomes of failures.

The stand-in computes on the CPU, and rounds to float16 between all operators, as a GPU does.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from onnx import helper

from models.contracts.film import FilmOptions
from models.errors import BadInput, ConfigurationError, ModelRefused
from models.style import ort_runner
from models.style.gpu import probe
from models.style.network import Network, open_network
from tests.unit.halves import is_half, rounding
from tests.unit.styles import Painter, identity, manifest_of, model_of, picture

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
SIZE = (48, 64)


@dataclass
class Asked:
    """A session that was asked for."""

    provider: str
    options: dict[str, str]
    half: bool
    runs: int = 0

    @property
    def captured(self) -> bool:
        return "1" in (self.options.get("enable_cuda_graph"), self.options.get("trt_cuda_graph_enable"))


@dataclass
class Gpu:
    """A machine with onnxruntime-gpu: what starts on it, and what fails."""

    starts: set[str] = field(default_factory=lambda: {TENSORRT, CUDA, CPU})
    cannot_open_captured: bool = False
    cannot_run_captured: bool = False
    cannot_open_half: bool = False
    cannot_run: bool = False
    wrong: bool = False
    """Its pictures are not those of the network."""
    asked: list[Asked] = field(default_factory=list)
    living: int = 0

    @property
    def tried(self) -> list[tuple[str, bool, bool]]:
        """Provider, half precision, captured: of each session but those of the CPU."""
        return [(each.provider, each.half, each.captured) for each in self.asked if each.provider != CPU]

    def module(self) -> Any:
        made = types.SimpleNamespace(
            **{name: getattr(onnxruntime, name) for name in ("SessionOptions", "__version__")}
        )
        made.get_available_providers = lambda: [TENSORRT, CUDA, CPU]
        made.InferenceSession = self.session
        made.preload_dlls = self.preload
        made.OrtValue = types.SimpleNamespace(
            ortvalue_from_numpy=lambda value, _device, _id: _Value.ortvalue_from_numpy(value),
            ortvalue_from_shape_and_type=lambda shape, form, _device, _id: _Value.ortvalue_from_shape_and_type(
                shape, form
            ),
        )
        return made

    def preload(self) -> None:
        print("Failed to load libcudnn.so.9")

    def session(self, data: bytes, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:
        assert not enable_fallback  # or ONNX Runtime would hide what is raised here
        name, given = providers[0] if isinstance(providers[0], tuple) else (providers[0], {})
        half = is_half(data)
        asked = Asked(name, given, half)
        self.asked.append(asked)
        if asked.captured and self.cannot_open_captured:
            raise RuntimeError("cannot use the CUDA Graph feature as requested")
        if half and self.cannot_open_half:
            raise ValueError("no kernel for Resize(float16)\nat node 3")
        return _Session(
            self, asked, onnxruntime.InferenceSession(rounding(data) if half else data, options, providers=[CPU])
        )


class _Value(onnxruntime.OrtValue):
    """In the memory of a device, so it is copied to be looked at."""

    def numpy(self) -> npt.NDArray[Any]:
        return super().numpy().copy()


class _Session:
    def __init__(self, gpu: Gpu, asked: Asked, real: Any) -> None:
        self.gpu, self.asked, self.real = gpu, asked, real
        gpu.living += asked.provider != CPU
        self.get_inputs, self.get_outputs, self.io_binding = real.get_inputs, real.get_outputs, real.io_binding
        self.run = real.run

    def __del__(self) -> None:
        self.gpu.living -= self.asked.provider != CPU

    def get_providers(self) -> list[str]:
        # ONNX Runtime leaves out without a word what does not start.
        return [name for name in (self.asked.provider, CPU) if name in self.gpu.starts]

    def run_with_iobinding(self, binding: Any) -> None:
        self.asked.runs += 1
        if self.asked.captured and self.gpu.cannot_run_captured:
            raise ValueError("operation not permitted when stream is capturing")
        if self.gpu.cannot_run:
            raise ValueError("out of memory")
        self.real.run_with_iobinding(binding)
        if self.gpu.wrong:
            styled = next(each for each in binding.get_outputs() if each.shape()[-1:] == [3])
            styled.update_inplace(255 - styled.numpy())


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    made = Gpu()
    monkeypatch.setattr(ort_runner, "runtime", made.module)
    return made


def opened(graph: bytes, *, size: tuple[int, int] = SIZE, multiple: int = 1, **more: Any) -> Network:
    more = {"providers": ["tensorrt", "cuda", "cpu"], **more}
    manifest = manifest_of(graph, multiple=multiple)
    return open_network(graph, manifest, height=size[0], width=size[1], options=FilmOptions(style="toy"), **more)


def on_cpu(graph: bytes, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return opened(graph, size=frames.shape[1:3], providers=["cpu"], batch=len(frames))(frames)


def exceeding() -> bytes:
    """Gives its input back, by way of values up to 90,000."""
    nodes = [
        helper.make_node("Mul", ["image", "large"], ["a"]),
        helper.make_node("Mul", ["a", "large"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[1, 1]),  # so that nothing can be folded
        helper.make_node("Div", ["c", "large"], ["d"]),
        helper.make_node("Div", ["d", "large"], ["styled"]),
    ]
    return model_of(nodes, {"large": np.float32(300)}).SerializeToString()


def test_the_best_provider_is_asked_first_in_half_precision_with_recorded_graphs(
    gpu: Gpu, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = opened(Painter().onnx(), multiple=2, cache=tmp_path)
    assert capfd.readouterr() == ("", "Failed to load libcudnn.so.9\n")  # results are printed to the one
    assert gpu.tried == [(TENSORRT, True, True)]
    assert network.describe() == f"ONNX Runtime {onnxruntime.__version__}, Tensorrt, fp16"
    (asked,) = (each for each in gpu.asked if each.provider == TENSORRT)
    assert asked.options["trt_fp16_enable"] == "1"
    assert asked.options["trt_engine_cache_path"] == asked.options["trt_timing_cache_path"] == str(tmp_path)
    assert asked.runs == 2  # recorded, and replayed, before the film


def test_a_provider_that_does_not_start_is_passed_over_and_never_taken_for_another(gpu: Gpu) -> None:
    gpu.starts = {CUDA, CPU}
    assert ", CUDA, fp16" in opened(identity()).describe()
    assert gpu.tried == [(TENSORRT, True, True), (CUDA, True, True)]
    gpu.starts = {CPU}
    assert ", CPU, fp32" in opened(identity()).describe()


def test_where_no_provider_works_the_machine_is_at_fault_and_not_the_style(gpu: Gpu) -> None:
    gpu.starts = {CPU}
    with pytest.raises(ConfigurationError, match=r"works on this machine: .*; cuda: CUDAExecutionProvider does not"):
        opened(identity(), providers=["tensorrt", "cuda"])
    gpu.starts = {CUDA, CPU}
    gpu.cannot_run = True
    with pytest.raises(ConfigurationError, match="cuda: out of memory"):
        opened(identity(), providers=["cuda"])
    halving = model_of([helper.make_node("Reshape", ["image", "to"], ["styled"])], {"to": np.array([1, 3, 8, 8])})
    with pytest.raises(ModelRefused, match="no runtime takes this network: cuda: "):
        opened(halving.SerializeToString(), providers=["cuda"])


@pytest.mark.parametrize("fault", ["cannot_open_captured", "cannot_run_captured"])
@pytest.mark.parametrize("provider", ["tensorrt", "cuda"])
def test_what_cannot_be_recorded_runs_unrecorded_on_the_same_provider(gpu: Gpu, fault: str, provider: str) -> None:
    setattr(gpu, fault, True)
    network = opened(identity(), providers=[provider])
    name = {"tensorrt": TENSORRT, "cuda": CUDA}[provider]
    assert gpu.tried == [(name, True, True), (name, True, False)]
    frames = picture(*SIZE, count=2)
    assert np.array_equal(network(frames), frames)
    assert gpu.living == 1  # the one that failed holds no memory


def test_cuda_is_told_what_it_is_used_for(gpu: Gpu) -> None:
    opened(identity(), providers=["cuda"])
    (asked,) = (each for each in gpu.asked if each.provider == CUDA)
    assert asked.options == {
        "device_id": "0", "enable_cuda_graph": "1", "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1", "prefer_nhwc": "1", "use_tf32": "1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("size", "batch"), [((360, 640), 4), ((1080, 1920), 4), ((1440, 2560), 2), ((2304, 4096), 1)]
)
def test_a_gpu_gets_as_many_frames_at_once_as_its_memory_allows(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], batch: int
) -> None:
    taken: list[int] = []
    monkeypatch.setattr("models.style.network.GpuRunner", lambda *_, batch, **__: taken.append(batch))
    assert opened(identity(), size=size).batch == batch
    assert taken == [batch]
    assert opened(identity(), size=size, providers=["cpu"]).batch == 1


def test_frames_given_out_stay_as_they_are_when_the_next_come(gpu: Gpu) -> None:
    network = opened(identity())
    first, second = picture(*SIZE, count=4, seed=1), picture(*SIZE, count=3, seed=2)
    kept = network(first)
    assert np.array_equal(network(second), second)
    assert np.array_equal(kept, first)


def test_a_network_that_overflows_half_precision_runs_in_float32_on_the_same_gpu(gpu: Gpu) -> None:
    network = opened(exceeding(), providers=["cuda", "cpu"])
    assert network.describe().endswith(", CUDA, tf32 (not fp16: values overflow)")
    assert gpu.tried == [(CUDA, True, True), (CUDA, False, True)]
    frames = picture(*SIZE, count=2)
    assert np.array_equal(network(frames), frames)
    assert gpu.living == 1


def test_a_network_whose_picture_is_another_in_half_precision_runs_in_float32(gpu: Gpu) -> None:
    nodes = [
        helper.make_node("Add", ["image", "far"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[1, 1]),
        helper.make_node("Sub", ["b", "far"], ["styled"]),
    ]
    graph = model_of(nodes, {"far": np.float32(1000)}).SerializeToString()
    network = opened(graph)
    assert "tf32 (not fp16: its picture is " in network.describe()
    frames = picture(*SIZE)
    assert np.array_equal(network(frames), on_cpu(graph, frames))


def test_a_network_without_kernels_for_half_precision_runs_in_float32(gpu: Gpu) -> None:
    gpu.cannot_open_half = True
    network = opened(identity(), providers=["cuda"])
    assert network.describe().endswith(", CUDA, tf32 (not fp16: no kernel for Resize(float16))")


def test_weights_too_large_for_half_precision_are_no_reason_to_refuse_a_network(gpu: Gpu) -> None:
    nodes = [helper.make_node("Mul", ["image", "w"], ["a"]), helper.make_node("Div", ["a", "w"], ["styled"])]
    graph = model_of(nodes, {"w": np.float32(1e6)}).SerializeToString()
    assert "(not fp16: toy.onnx: weights of w are too large" in opened(graph).describe()
    assert [half for _, half, _ in gpu.tried] == [False]


def test_a_film_with_a_frame_that_overflows_half_precision_goes_on_in_float32(gpu: Gpu) -> None:
    # Only in a picture that is bright all over, which the one it is tried on is not.
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Sub", ["mean", "bright"], ["above"]),
        helper.make_node("Relu", ["above"], ["more"]),
        helper.make_node("Mul", ["more", "much"], ["once"]),
        helper.make_node("Mul", ["once", "much"], ["twice"]),
        helper.make_node("Mul", ["twice", "none"], ["nothing"]),
        helper.make_node("Add", ["image", "nothing"], ["styled"]),
    ]
    weights = {"bright": np.float32(0.9), "much": np.float32(2000), "none": np.float32(0)}
    graph = model_of(nodes, weights).SerializeToString()
    network = opened(graph)
    dark, bright = picture(*SIZE, count=2), np.full((3, *SIZE, 3), 253, np.uint8)
    assert np.array_equal(network(dark), dark)
    assert network.describe().endswith("fp16")
    assert np.array_equal(network(bright), bright)
    assert network.describe().endswith("tf32 (not fp16: a frame overflows)")
    assert np.array_equal(network(dark), dark)
    assert gpu.living == 1
    assert [half for _, half, _ in gpu.tried] == [True, False]


def test_a_network_that_gives_no_numbers_in_float32_either_is_named(gpu: Gpu) -> None:
    graph = model_of([helper.make_node("Log", ["image"], ["a"]), helper.make_node("Mul", ["a", "zero"], ["styled"])],
                     {"zero": np.float32(0)}).SerializeToString()  # fmt: skip
    network = opened(graph)
    with pytest.raises(BadInput, match="style toy: the network gave values that are not finite"):
        network(np.zeros((1, *SIZE, 3), np.uint8))
    assert [half for _, half, _ in gpu.tried] == [True]


def test_a_gpu_that_gives_other_pictures_than_the_cpu_is_not_used(gpu: Gpu) -> None:
    gpu.wrong = True
    network = opened(identity())
    assert ", CPU, fp32" in network.describe()
    frames = picture(*SIZE)
    assert np.array_equal(network(frames), frames)
    with pytest.raises(ConfigurationError, match=r"cuda: its picture is \d+ dB from that of the CPU, expected 30"):
        opened(identity(), providers=["cuda"])
    assert gpu.living == 0


def test_fp32_means_no_rounding_on_any_device(gpu: Gpu) -> None:
    network = opened(Painter().onnx(), multiple=2, precision="fp32")
    assert network.describe().endswith(", CUDA, fp32")
    assert gpu.tried == [(CUDA, False, True)]  # not by TensorRT, which rounds whatever it is told
    assert next(each for each in gpu.asked if each.provider == CUDA).options["use_tf32"] == "0"


def test_the_picture_that_networks_are_tried_on_is_varied_and_always_the_same() -> None:
    for size in ((1, 1), (37, 53), SIZE):
        frame = probe(*size)
        assert (frame.shape, frame.dtype) == ((1, *size, 3), np.uint8)
        assert np.array_equal(frame, probe(*size))
    values = np.bincount(probe(*SIZE).ravel(), minlength=256)
    assert values[0] > 1000 < values[255]
    assert (values > 0).all()
