"""A trained network as an ONNX graph, and back: about sixty plain nodes, any batch, height and width.

`torch.onnx.export` writes 330 nodes for the same network, most of them to compute the shapes of borders. Here borders
are constants, and upsampling costs 44 %: nearest-neighbour doubling, a mirrored border and a 3x3 convolution equal a
2x2 convolution of the small map with an edge border that gives the four pixels of each square as channels.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.errors import ModelRefused
from models.manifest import TensorSpec
from training.graphs import onnx_model
from training.style.network import Architecture, Block, Layer, StyleNetwork

if TYPE_CHECKING:
    from onnx import NodeProto

INPUT: Final = "image"
OUTPUT: Final = "styled"


def rounded(network: StyleNetwork) -> StyleNetwork:
    """A copy with convolution kernels that float16 holds exactly: what is shipped is then what is checked."""
    copy = StyleNetwork(network.architecture)
    copy.load_state_dict(
        {
            name: value.half().float() if value.dim() == 4 else value.float()
            for name, value in network.state_dict().items()
        }
    )
    return copy.eval()


def style_graph(network: StyleNetwork) -> bytes:
    """The graph: float32 `image` [n, 3, h, w], RGB 0..1, h and w multiples of 4, to `styled`, the same, clamped.

    Computes in float32; kernels that float16 holds exactly are stored so, behind a Cast that runtimes fold.
    """
    writer = _Writer()
    hidden = writer.layer(INPUT, network.head, "head")
    hidden = writer.layer(hidden, network.down0, "down0")
    hidden = writer.layer(hidden, network.down1, "down1")
    for number, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        inner = writer.layer(hidden, block.first, f"blocks.{number}.first")
        inner = writer.layer(inner, block.second, f"blocks.{number}.second")
        hidden = writer.add("Add", [hidden, inner], f"blocks.{number}.out")
    hidden = writer.doubled(hidden, network.up0, "up0")
    hidden = writer.doubled(hidden, network.up1, "up1")
    writer.end(hidden, network.tail)
    sides: list[int | str] = ["n", 3, "h", "w"]
    model = onnx_model(
        "style",
        writer.nodes,
        [TensorSpec(INPUT, "float32", sides)],
        [TensorSpec(OUTPUT, "float32", sides)],
        writer.constants,
    )
    return model


def network_of(data: bytes) -> StyleNetwork:
    """The network that `style_graph` wrote, exactly. Raises ModelRefused for any other graph."""
    import onnx
    from onnx import numpy_helper

    constants = {item.name: numpy_helper.to_array(item) for item in onnx.load_from_string(data).graph.initializer}
    try:
        head = constants["head.kernel"]
        blocks = sum(name.endswith(".first.kernel") for name in constants)
        network = StyleNetwork(Architecture(width=head.shape[0], blocks=blocks, ends=head.shape[2]))
        network.load_state_dict(_state(lambda name: torch.from_numpy(constants[name].astype(np.float32)), blocks))
    except (KeyError, RuntimeError, IndexError) as error:
        raise ModelRefused(f"expected a graph that `penstock train style` wrote, this is another: {error}") from error
    return network.eval()


class _Writer:
    """The nodes and constants so far; every method gives the name of the tensor that it adds."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, npt.NDArray[np.generic]] = {
            "crop.start": np.array([1, 1], np.int64),
            "crop.end": np.array([-1, -1], np.int64),
            "crop.axes": np.array([2, 3], np.int64),
        }

    def add(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def layer(self, hidden: str, layer: Layer, name: str) -> str:
        kernel = layer.conv.weight
        bordered = self._bordered(hidden, kernel.shape[2] // 2, "reflect", name)
        conv = self.add(
            "Conv", [bordered, self._kernel(kernel, name)], f"{name}.conv", strides=list(layer.conv.stride)
        )
        return self._activated(conv, layer, name)

    def doubled(self, hidden: str, layer: Layer, name: str) -> str:
        bordered = self._bordered(hidden, 1, "edge", name)
        conv = self.add("Conv", [bordered, self._kernel(_phases(layer.conv.weight), name)], f"{name}.conv")
        spread = self.add("DepthToSpace", [conv], f"{name}.spread", blocksize=2, mode="DCR")
        cropped = self.add("Slice", [spread, "crop.start", "crop.end", "crop.axes"], f"{name}.cropped")
        return self._activated(cropped, layer, name)

    def end(self, hidden: str, tail: torch.nn.Conv2d) -> None:
        assert tail.bias is not None
        bordered = self._bordered(hidden, tail.weight.shape[2] // 2, "reflect", "tail")
        bias = self._constant("tail.bias", tail.bias)
        out = self.add("Conv", [bordered, self._kernel(tail.weight, "tail"), bias], "tail.conv")
        low, high = self._constant("black", torch.tensor(0.0)), self._constant("white", torch.tensor(1.0))
        self.add("Clip", [out, low, high], OUTPUT)

    def _activated(self, hidden: str, layer: Layer, name: str) -> str:
        normed = self._normed(hidden, layer.norm, name)
        return self.add("Relu", [normed], f"{name}.relu") if layer.relu else normed

    def _normed(self, hidden: str, norm: torch.nn.InstanceNorm2d, name: str) -> str:
        scale, shift = self._constant(f"{name}.scale", norm.weight), self._constant(f"{name}.shift", norm.bias)
        return self.add("InstanceNormalization", [hidden, scale, shift], f"{name}.norm", epsilon=norm.eps)

    def _bordered(self, hidden: str, border: int, mode: str, name: str) -> str:
        amounts = f"border{border}"
        self.constants.setdefault(amounts, np.array([0, 0, border, border] * 2, np.int64))
        return self.add("Pad", [hidden, amounts], f"{name}.bordered", mode=mode)

    def _kernel(self, kernel: Tensor, name: str) -> str:
        stored = self._constant(f"{name}.kernel", kernel)
        if not torch.equal(kernel, kernel.half().float()):
            return stored
        from onnx import TensorProto

        self.constants[stored] = self.constants[stored].astype(np.float16)
        return self.add("Cast", [stored], f"{name}.kernel32", to=TensorProto.FLOAT)

    def _constant(self, name: str, value: Tensor) -> str:
        self.constants[name] = value.detach().cpu().float().numpy()
        return name


def _phases(kernel: Tensor) -> Tensor:
    """The 2x2 kernels [4 c, entering, 2, 2] of a 3x3 kernel [c, entering, 3, 3] behind nearest-neighbour doubling.

    An output row sees two rows of the small map: an even one the row above (kernel row 0) and its own (1 and 2), an
    odd one its own (0 and 1) and the one below (2). Odd phases come first: DepthToSpace then gives rows that begin
    one pixel early and end one late, which the crop takes off.
    """
    odd, even = torch.tensor([[1.0, 1, 0], [0, 0, 1]]), torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    kernel = kernel.detach().cpu()
    phases = [
        torch.einsum("ocij,yi,xj->ocyx", kernel, rows, columns) for rows in (odd, even) for columns in (odd, even)
    ]
    return torch.cat(phases)


def _whole(phases: Tensor) -> Tensor:
    """The 3x3 kernel of which `_phases` made these; exact where float16 held it."""

    def undone(odd: Tensor, even: Tensor, axis: int) -> Tensor:
        first = even.select(axis, 0)
        return torch.stack([first, odd.select(axis, 0) - first, odd.select(axis, 1)], axis)

    odd_odd, odd_even, even_odd, even_even = phases.chunk(4)  # rows, columns
    return undone(undone(odd_odd, even_odd, 2), undone(odd_even, even_even, 2), 3)


def _state(constant: Callable[[str], Tensor], blocks: int) -> dict[str, Tensor]:
    """The network's state dict from the graph's constants."""
    layers = ["head", "down0", "down1", "up0", "up1"]
    layers += [f"blocks.{number}.{half}" for number in range(blocks) for half in ("first", "second")]
    state = {"tail.weight": constant("tail.kernel"), "tail.bias": constant("tail.bias")}
    for name in layers:
        kernel = constant(f"{name}.kernel")
        state[f"{name}.conv.weight"] = _whole(kernel) if name.startswith("up") else kernel
        state[f"{name}.norm.weight"] = constant(f"{name}.scale")
        state[f"{name}.norm.bias"] = constant(f"{name}.shift")
    return state
