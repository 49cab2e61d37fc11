"""The graph around any registered network: sizes, ranges, orders, types, blending, and what is refused."""

import hashlib
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, TensorProto, helper

from models.contracts.film import FilmOptions
from models.errors import BadInput, ConfigurationError, ModelRefused
from models.style.core import load_core
from models.style.graph import FRAMES, STYLED, Framing, wrap
from models.style.half import halved
from models.style.manifest import Image, StyleManifest, read_manifest
from models.style.network import open_network
from models.style.ort_runner import BoundRunner, CpuRunner, run_once
from tests.unit.halves import rounding
from tests.unit.styles import Painter, identity, manifest_of, model_of, picture

_CPU = ["cpu"]


def restyle(
    graph: bytes, frames: npt.NDArray[np.uint8], manifest: StyleManifest | None = None, **options: Any
) -> npt.NDArray[np.uint8]:
    manifest = manifest or manifest_of(graph)
    _, height, width, _ = frames.shape
    chosen = FilmOptions(style="toy", **options)
    network = open_network(
        graph, manifest, height=height, width=width, options=chosen, batch=len(frames), providers=_CPU
    )
    return network(frames).copy()


def psnr(got: npt.NDArray[np.uint8], want: npt.NDArray[np.float64]) -> float:
    return float(10 * np.log10(255**2 / np.mean((got - want) ** 2)))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (31, 33), (361, 643), (64, 48)])
def test_a_network_that_changes_nothing_gives_every_size_back_byte_for_byte(size: tuple[int, int]) -> None:
    frames = picture(*size, count=2)
    assert np.array_equal(restyle(identity(), frames, manifest_of(identity(), multiple=4)), frames)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("float32", 0, 1), ("float32", -1, 1), ("float32", 1, 0), ("float16", 0, 1), ("uint8", 0, 255)],
)
def test_a_network_may_take_and_give_any_layout_order_range_and_type(
    layout: Any, channels: Any, dtype: Any, low: float, high: float
) -> None:
    side = Image(name="image", layout=layout, channels=channels, dtype=dtype, low=low, high=high)
    other = Image(name="styled")
    frames = picture(37, 42)
    shape = ("n", "h", "w", 3) if layout == "NHWC" else ("n", 3, "h", "w")
    # The network undoes by itself what the manifest says, so a wrong conversion on either side shows.
    nodes = [helper.make_node("Cast", ["image"], ["wide"], to=TensorProto.FLOAT)]
    value = "wide"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [value], ["planes"], perm=[0, 3, 1, 2]))
        value = "planes"
    nodes.append(helper.make_node("Sub", [value, "low"], ["above"]))
    nodes.append(helper.make_node("Div", ["above", "span"], ["unit"]))
    nodes.append(helper.make_node("Gather", ["unit", "order"], ["styled"], axis=1))
    order = np.array([0, 1, 2] if channels == "RGB" else [2, 1, 0])
    weights = {"low": np.float32(low), "span": np.float32(high - low), "order": order}
    there = model_of(nodes, weights, source=side, target=other, shape=shape, output_shape=("n", 3, "h", "w"))
    data = there.SerializeToString()
    assert np.array_equal(restyle(data, frames, manifest_of(data, input=side, output=other)), frames)
    same = msgspec.structs.replace(side, name="styled")
    back = identity(source=side, target=same, shape=shape)
    assert np.array_equal(restyle(back, frames, manifest_of(back, input=side, output=same)), frames)


def test_channels_that_only_one_side_reverses_come_out_reversed() -> None:
    graph = identity()
    manifest = manifest_of(graph, output=Image(name="styled", channels="BGR"))
    frames = picture(40, 40)
    assert np.array_equal(restyle(graph, frames, manifest), frames[..., ::-1])


@pytest.mark.parametrize("value", [-0.2, 0.4 / 255, 0.6 / 255, 100.5 / 255 + 1e-5, 254.6 / 255, 7.0])
def test_values_are_clamped_and_rounded_not_truncated(value: float) -> None:
    nodes = [
        helper.make_node("Mul", ["image", "none"], ["zero"]),
        helper.make_node("Add", ["zero", "value"], ["styled"]),
    ]
    graph = model_of(nodes, {"none": np.float32(0), "value": np.float32(value)}).SerializeToString()
    assert (restyle(graph, picture(8, 8)) == round(min(max(value * 255, 0), 255))).all()


def test_strength_blends_with_the_source() -> None:
    graph = model_of(
        [helper.make_node("Sub", ["one", "image"], ["styled"])], {"one": np.float32(1)}
    ).SerializeToString()
    frames = picture(33, 35)
    assert np.array_equal(restyle(graph, frames), 255 - frames)
    assert np.array_equal(restyle(graph, frames, strength=0.0), frames)
    want = 0.25 * (255.0 - frames) + 0.75 * frames
    assert np.abs(restyle(graph, frames, strength=0.25) - want).max() <= 0.5 + 1e-3


def test_scale_lets_the_network_work_on_a_smaller_picture_and_keeps_the_output_size() -> None:
    frames = np.repeat(np.repeat(picture(24, 30), 2, axis=1), 2, axis=2)
    sized = [
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Gather", ["shape", "which"], ["height"]),
        helper.make_node("Cast", ["height"], ["level"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["image", "none"], ["zero"]),
        helper.make_node("Div", ["level", "white"], ["value"]),
        helper.make_node("Add", ["zero", "value"], ["styled"]),
    ]
    graph = model_of(
        sized, {"which": np.array([2]), "none": np.float32(0), "white": np.float32(255)}
    ).SerializeToString()
    styled = restyle(graph, np.repeat(frames, 2, axis=1), scale=0.5)
    assert styled.shape == (1, 96, 60, 3)
    assert (styled == 48).all()  # the height that the network saw
    smooth = restyle(identity(), picture(200, 300), scale=0.5).astype(float)
    assert np.abs(smooth - picture(200, 300)).mean() < 12


def test_size_sets_the_size_of_the_output() -> None:
    frames = picture(60, 80)
    assert restyle(identity(), frames, size="41x33").shape == (1, 33, 41, 3)
    with pytest.raises(BadInput, match="WIDTHxHEIGHT"):
        restyle(identity(), frames, size="large")


def test_shrinking_uses_every_pixel() -> None:
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 255
    assert np.abs(restyle(identity(), stripes, size="16x16").astype(int) - 128).max() <= 1


def test_a_graph_of_one_size_and_one_picture_serves_every_film() -> None:
    graph = identity(shape=(1, 3, 48, 48))
    manifest = manifest_of(graph, height=48, width=48)
    frames = np.full((1, 100, 130, 3), (10, 120, 250), np.uint8)
    network = open_network(
        graph, manifest, height=100, width=130, options=FilmOptions(style="toy"), batch=8, providers=_CPU
    )
    assert network.batch == 1
    assert np.array_equal(network(frames), frames)


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 18, 20, 21])
def test_graphs_of_old_and_new_opsets_run(opset: int) -> None:
    frames = picture(33, 40)
    assert np.array_equal(restyle(identity(opset=opset), frames, scale=1.0), frames)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_short_batch_gives_what_single_frames_give(count: int) -> None:
    painter = Painter().onnx()
    manifest = manifest_of(painter, multiple=2)
    frames = picture(36, 50, count=count)
    options = FilmOptions(style="toy")
    network = open_network(painter, manifest, height=36, width=50, options=options, batch=3, providers=_CPU)
    singly = np.concatenate([restyle(painter, frames[i : i + 1], manifest) for i in range(count)])
    assert np.abs(network(frames).astype(int) - singly).max() <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_network_that_gives_no_number_is_named_instead_of_shown(value: float) -> None:
    # Only where the picture is white, and there only in one channel of one frame.
    nodes = [
        helper.make_node("Greater", ["image", "limit"], ["white"]),
        helper.make_node("Where", ["white", "value", "image"], ["styled"]),
    ]
    graph = model_of(nodes, {"limit": np.float32(0.999), "value": np.float32(value)}).SerializeToString()
    frames = np.minimum(picture(40, 40, count=2), 250)
    assert np.array_equal(restyle(graph, frames), frames)
    frames[1, 39, 39, 2] = 255
    with pytest.raises(BadInput, match="style toy: the network gave values that are not finite"):
        restyle(graph, frames)


def test_in_fp32_the_picture_is_that_of_torch_within_one_level() -> None:
    painter = Painter()
    graph = painter.onnx()
    for size in ((130, 254), (361, 643)):
        frames = picture(*size)
        even = np.pad(frames, ((0, 0), (0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="reflect")
        want = painter.torch(even)[:, : size[0], : size[1]]
        assert np.abs(restyle(graph, frames, manifest_of(graph, multiple=2)) - want).max() <= 1


def test_in_fp16_the_picture_is_that_of_torch_at_40_db() -> None:
    painter = Painter(8)
    graph = painter.onnx()
    manifest = manifest_of(graph, multiple=2)
    core, narrow = halved(load_core(graph, manifest), manifest)
    assert {each.data_type for each in core.graph.initializer} == {
        TensorProto.FLOAT16,
        TensorProto.INT64,
        TensorProto.FLOAT,
    }
    frames = picture(128, 192)
    wrapped = wrap(core, narrow, Framing((128, 192), (128, 192)), batch=1)
    styled = run_once(ModelProto.FromString(rounding(wrapped.SerializeToString())), {FRAMES: frames}, STYLED)
    assert psnr(styled, painter.torch(frames)) >= 40


def test_what_runs_on_a_gpu_gives_the_same_from_bound_memory() -> None:
    painter = Painter().onnx()
    manifest = manifest_of(painter, multiple=2)
    wrapped = wrap(load_core(painter, manifest), manifest, Framing((36, 50), (36, 50)), batch=2)
    plain = CpuRunner(wrapped, threads=1)
    bound = BoundRunner(plain._session, "test", device="cpu")
    for seed in (1, 2):
        frames = picture(36, 50, count=2, seed=seed)
        for mine, theirs in zip(bound.run(frames), plain.run(frames), strict=True):
            assert np.array_equal(mine, theirs)


def test_a_provider_that_is_not_there_is_said_with_those_that_are() -> None:
    graph = identity()
    sizes = {"height": 8, "width": 8, "options": FilmOptions(style="toy")}
    with pytest.raises(ConfigurationError, match="expected some of tensorrt, cuda, openvino, cpu, got gpu"):
        open_network(graph, manifest_of(graph), **sizes, providers=["gpu"])
    with pytest.raises(ConfigurationError, match=r"wanted cuda, installed are .*cpu"):
        open_network(graph, manifest_of(graph), **sizes, providers=["cuda"])


def _refused(graph: bytes, manifest: StyleManifest | None = None) -> str:
    with pytest.raises(ModelRefused) as refusal:
        load_core(graph, manifest or manifest_of(graph))
    return str(refusal.value)


def test_files_that_are_no_graph_are_refused() -> None:
    assert "not an ONNX file" in _refused(b"no graph at all")
    assert "not an ONNX file" in _refused(b"")
    assert "expects sha256" in _refused(identity(), manifest_of(b"another"))
    whole = Painter().onnx()
    assert _refused(whole[: len(whole) // 2])


def test_weights_in_other_files_are_refused() -> None:
    model = model_of([helper.make_node("Mul", ["image", "weight"], ["styled"])], {"weight": np.ones(3, np.float32)})
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")
    assert "keeps weights in another file (weight)" in _refused(model.SerializeToString())
    hidden = model_of(
        [helper.make_node("Constant", [], ["c"], value=weight), helper.make_node("Mul", ["image", "c"], ["styled"])]
    )
    assert "keeps weights in another file" in _refused(hidden.SerializeToString())


@pytest.mark.parametrize(("value", "dtype"), [(np.nan, np.float32), (np.nan, np.float16), (np.inf, np.float32)])
def test_weights_that_are_not_finite_are_refused_and_masks_are_not(value: float, dtype: type) -> None:
    def graph(value: float) -> bytes:
        weight = np.array([1, value, 1], dtype).reshape(3, 1, 1)
        nodes = [
            helper.make_node("Cast", ["weight"], ["weight32"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["image", "weight32"], ["styled"]),
        ]
        return model_of(nodes, {"weight": weight}).SerializeToString()

    assert "has weights that are not finite (weight)" in _refused(graph(value))
    load_core(graph(-np.inf), manifest_of(graph(-np.inf)))


def test_operators_that_are_not_onnx_s_own_are_refused_wherever_they_hide() -> None:
    foreign = helper.make_node("Gelu", ["image"], ["styled"], domain="com.microsoft")
    assert "uses com.microsoft.Gelu" in _refused(model_of([foreign]).SerializeToString())
    branch = helper.make_graph(
        [helper.make_node("Run", ["image"], ["inner"], domain="evil")],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    chosen = helper.make_node("If", ["yes"], ["styled"], then_branch=branch, else_branch=branch)
    assert "uses evil.Run" in _refused(model_of([chosen], {"yes": np.array(True)}).SerializeToString())
    model = model_of([helper.make_node("Identity", ["image"], ["styled"])])
    model.functions.append(
        helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])
    )
    assert "has functions of its own" in _refused(model.SerializeToString())


@pytest.mark.parametrize("kind", ["RandomNormalLike", "Bernoulli"])
def test_chance_is_refused(kind: str) -> None:
    assert "another picture each time" in _refused(
        model_of([helper.make_node(kind, ["image"], ["styled"])]).SerializeToString()
    )


def test_loops_and_absurdly_large_graphs_are_refused() -> None:
    body = helper.make_graph([], "body", [], [])
    loop = helper.make_node("Loop", ["", "yes", "image"], ["styled"], body=body)
    assert "might never end" in _refused(model_of([loop], {"yes": np.array(True)}).SerializeToString())
    chain = [helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(20_001)]
    chain[0].input[0], chain[-1].output[0] = "image", "styled"
    assert "more than 20,000 nodes" in _refused(model_of(chain).SerializeToString())


def test_inputs_that_nobody_gives_and_other_outputs_are_refused() -> None:
    model = model_of([helper.make_node("Mul", ["image", "mood"], ["styled"])])
    model.graph.input.append(helper.make_tensor_value_info("mood", TensorProto.FLOAT, [1]))
    assert "expected one input, 'image', got 'image', 'mood'" in _refused(model.SerializeToString())
    graph = identity()
    assert "expected one output, 'picture', got 'styled'" in _refused(
        graph, manifest_of(graph, output=Image(name="picture"))
    )


@pytest.mark.parametrize(
    ("shape", "changes", "reason"),
    [
        (("n", 3, "h"), {}, "expected 4 dimensions"),
        (("n", 1, "h", "w"), {}, "expected 3 channels in NCHW, got 1"),
        (("n", "h", "w", 3), {}, "the graph has width 3"),
        ((4, 3, "h", "w"), {}, "takes 4 pictures at once"),
        (("n", 3, 224, 224), {}, "the graph has height 224, its manifest any"),
        (("n", 3, 224, 224), {"height": 256, "width": 224}, "the graph has height 224, its manifest 256"),
        (("n", 3, "h", "w"), {"input": Image(name="image", dtype="uint8", high=255)}, "says uint8, the graph FLOAT"),
    ],
)
def test_shapes_and_types_other_than_the_manifest_s_are_refused(shape: Any, changes: Any, reason: str) -> None:
    graph = identity(shape=shape)
    assert reason in _refused(graph, manifest_of(graph, **changes))


def test_weights_listed_as_inputs_by_old_exporters_are_no_inputs() -> None:
    model = model_of([helper.make_node("Mul", ["image", "one"], ["styled"])], {"one": np.float32(1)})
    model.graph.input.append(helper.make_tensor_value_info("one", TensorProto.FLOAT, []))
    frames = picture(40, 40)
    assert np.array_equal(restyle(model.SerializeToString(), frames), frames)


def test_half_precision_keeps_scales_and_refuses_weights_that_overflow() -> None:
    graph = model_of(
        [helper.make_node("Mul", ["image", "w"], ["styled"])], {"w": np.float32(1e6)}
    ).SerializeToString()
    manifest = manifest_of(graph)
    with pytest.raises(ModelRefused, match="too large for half precision"):
        halved(load_core(graph, manifest), manifest)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "expected format 1, got 2"),
        ({"style": "../x"}, "style: expected"),
        ({"file": "../toy.onnx"}, "file: expected the name of a file"),
        ({"sha256": "12"}, "sha256: expected 64"),
        ({"multiple": 0}, "multiple: expected 1..64"),
        ({"height": 5}, "expected both or neither"),
        ({"input": Image(name="image", low=1.0)}, "different, finite values"),
        ({"output": Image(name="styled", dtype="uint8")}, "uint8 goes from low 0 to high 255"),
    ],
)
def test_a_manifest_that_cannot_be_meant_is_refused_with_the_reason(changes: Any, reason: str) -> None:
    data = msgspec.json.encode(manifest_of(identity(), **changes))
    with pytest.raises(ModelRefused, match=reason):
        read_manifest(data, name="toy.json")


def test_a_manifest_is_read_as_it_was_written() -> None:
    manifest = manifest_of(identity(), multiple=4, title="Toy")
    assert read_manifest(msgspec.json.encode(manifest), name="toy.json") == manifest
    assert hashlib.sha256(identity()).hexdigest() == manifest.sha256
    with pytest.raises(ModelRefused, match=r"toy\.json: not the manifest of a style"):
        read_manifest(b"{", name="toy.json")
