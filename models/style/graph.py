"""The graph around a network: bytes of pictures in, bytes of pictures out, whatever the network itself takes.

    frames [b, h, w, 3] uint8 RGB -> output size -> style scale -> size, range, order and type of the network
      -> network -> crop, output size -> blend with the source -> clamp, round -> styled [b, H, W, 3] uint8 RGB

All sizes are fixed when it is built, so runtimes fold every shape, and only bytes travel to a GPU and back.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.errors import ModelRefused
from models.style.core import opset
from models.style.manifest import Image, StyleManifest

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

FRAMES: Final = "penstock.frames"
STYLED: Final = "penstock.styled"
# Mean over each picture as the network gave it: not finite if any value of it is not.
MEAN: Final = "penstock.mean"
_PREFIX: Final = "penstock."
# Networks pad by reflection inside, at a quarter of the size: smaller pictures have too little to reflect.
_LEAST_SIDE: Final = 32
_IR_VERSION: Final = 8

_Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Framing:
    """Sizes as (height, width). The network works at `scale` of the output size; `strength`: as in options."""

    source: tuple[int, int]
    output: tuple[int, int]
    scale: float = 1.0
    strength: float = 1.0


def wrap(model: "ModelProto", manifest: StyleManifest, framing: Framing, *, batch: int) -> "ModelProto":
    """The graph for `batch` frames of one size. `model` comes from `load_core`, and is left as it is."""
    if any(name.startswith(_PREFIX) for node in model.graph.node for name in (*node.input, *node.output)):
        raise ModelRefused(f"{manifest.file}: names of tensors may not start with {_PREFIX!r}")
    build = _Builder(opset(model), batch)
    pixels = build.node("Cast", build.node("Transpose", FRAMES, perm=[0, 3, 1, 2]), to=_FLOAT)
    source = build.resized(pixels, framing.source, framing.output)
    work = _work_size(framing)
    entering, inside = _fitted(build, build.resized(source, framing.output, work), work, manifest)
    _to_network(build, entering, manifest.input)
    leaving = _from_network(build, manifest.output)
    build.mean(leaving)
    if manifest.height is None and inside != work:
        leaving = build.cropped(leaving, work)
        inside = work
    _finish(build, build.resized(leaving, inside, framing.output), source, framing.strength)
    return _assembled(model, build, framing, manifest.input.name)


def _work_size(framing: Framing) -> _Size:
    height, width = (max(1, round(side * framing.scale)) for side in framing.output)
    return height, width


def _fitted(build: "_Builder", pixels: str, size: _Size, manifest: StyleManifest) -> tuple[str, _Size]:
    """The picture in a size that the network takes, and that size."""
    if manifest.height is not None and manifest.width is not None:
        inside = (manifest.height, manifest.width)
        return build.resized(pixels, size, inside), inside
    height, width = (_up(max(side, _LEAST_SIDE), manifest.multiple) for side in size)
    return build.padded(pixels, size, (height, width)), (height, width)


def _up(side: int, multiple: int) -> int:
    return math.ceil(side / multiple) * multiple


def _to_network(build: "_Builder", pixels: str, image: Image) -> None:
    """`pixels` (NCHW RGB, 0..255) as the network's input."""
    value = build.reordered(pixels, image)
    value = build.linear(value, (image.high - image.low) / 255.0, image.low)
    if image.dtype == "uint8":
        value = build.node("Round", value)
    if image.layout == "NHWC":
        value = build.node("Transpose", value, perm=[0, 2, 3, 1])
    build.node("Cast", value, to=_TYPES[image.dtype], output=image.name)


def _from_network(build: "_Builder", image: Image) -> str:
    """The network's output as NCHW RGB, 0..255."""
    value = image.name if image.dtype == "float32" else build.node("Cast", image.name, to=_FLOAT)
    if image.layout == "NHWC":
        value = build.node("Transpose", value, perm=[0, 3, 1, 2])
    unit = 255.0 / (image.high - image.low)
    return build.reordered(build.linear(value, unit, -image.low * unit), image)


def _finish(build: "_Builder", styled: str, source: str, strength: float) -> None:
    if strength < 1.0:
        styled = build.node("Add", build.linear(styled, strength, 0.0), build.linear(source, 1.0 - strength, 0.0))
    styled = build.node("Clip", styled, build.constant(np.float32(0.0)), build.constant(np.float32(255.0)))
    styled = build.node("Cast", build.node("Round", styled), to=_TYPES["uint8"])
    build.node("Transpose", styled, perm=[0, 2, 3, 1], output=STYLED)


# Of TensorProto.DataType, written out so that this module does not import onnx before it is needed.
_FLOAT: Final = 1
_TYPES: Final = {"float32": _FLOAT, "float16": 10, "uint8": 2}


class _Builder:
    """Nodes and constants in the order in which they are added; every method returns the name of its result."""

    def __init__(self, opset: int, batch: int) -> None:
        self.opset = opset
        self.batch = batch
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        name = output or f"{_PREFIX}{kind.lower()}{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, inputs, [name], name=f"{_PREFIX}node{len(self.nodes)}", **attributes)
        )
        return name

    def constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"{_PREFIX}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def linear(self, value: str, factor: float, offset: float) -> str:
        if factor != 1.0:
            value = self.node("Mul", value, self.constant(np.float32(factor)))
        return self.node("Add", value, self.constant(np.float32(offset))) if offset else value

    def reordered(self, value: str, image: Image) -> str:
        """Between RGB and the order of `image`, whose reverse is itself."""
        if image.channels == "RGB":
            return value
        return self.node("Gather", value, self.constant(np.array([2, 1, 0], np.int64)), axis=1)

    def resized(self, value: str, size: _Size, to: _Size) -> str:
        """Linear; by halves first where it shrinks to less than half, so that no pixel is left out."""
        while size != to:
            step = tuple(max(target, math.ceil(side / 2)) for side, target in zip(size, to, strict=True))
            sizes = self.constant(np.array([self.batch, 3, *step], np.int64))
            value = self.node(
                "Resize", value, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel"
            )
            size = (step[0], step[1])
        return value

    def padded(self, value: str, size: _Size, to: _Size) -> str:
        """More pixels below and to the right: mirrored where there are enough, else the last one repeated."""
        below, right = to[0] - size[0], to[1] - size[1]
        if not below and not right:
            return value
        pads = self.constant(np.array([0, 0, 0, 0, 0, 0, below, right], np.int64))
        return self.node("Pad", value, pads, mode="reflect" if below < size[0] and right < size[1] else "edge")

    def cropped(self, value: str, to: _Size) -> str:
        starts, ends, axes = (self.constant(np.array(each, np.int64)) for each in ((0, 0), to, (2, 3)))
        return self.node("Slice", value, starts, ends, axes)

    def mean(self, value: str) -> None:
        axes: Sequence[int] = (1, 2, 3)
        if self.opset >= 18:  # from then on an input
            self.node("ReduceMean", value, self.constant(np.array(axes, np.int64)), keepdims=0, output=MEAN)
        else:
            self.node("ReduceMean", value, axes=axes, keepdims=0, output=MEAN)


def _assembled(model: "ModelProto", build: _Builder, framing: Framing, entry: str) -> "ModelProto":
    """`model` between the builder's nodes: up to the one that makes its input, `entry`, and from there on."""
    from onnx import ModelProto, TensorProto, helper

    before = next(i for i, node in enumerate(build.nodes, start=1) if node.output[0] == entry)
    whole = ModelProto()
    whole.CopyFrom(model)
    graph = whole.graph
    nodes = [*build.nodes[:before], *model.graph.node, *build.nodes[before:]]
    for field in ("node", "input", "output", "value_info"):  # value_info: sizes of other pictures
        graph.ClearField(field)
    graph.node.extend(nodes)
    graph.initializer.extend(build.constants)
    (height, width), (out_height, out_width) = framing.source, framing.output
    info = helper.make_tensor_value_info
    graph.input.append(info(FRAMES, TensorProto.UINT8, [build.batch, height, width, 3]))
    graph.output.append(info(STYLED, TensorProto.UINT8, [build.batch, out_height, out_width, 3]))
    graph.output.append(info(MEAN, TensorProto.FLOAT, [build.batch]))
    whole.ir_version = max(whole.ir_version, _IR_VERSION)
    return whole
