"""Small networks of the kind that restyles pictures, as ONNX files with their manifests, and the same in torch."""

import hashlib
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from models.style.manifest import Image, StyleManifest

_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


def manifest_of(graph: bytes, **changes: Any) -> StyleManifest:
    """The manifest of a graph made here; `changes` are fields of it."""
    plain = StyleManifest(
        style="toy",
        file="toy.onnx",
        sha256=hashlib.sha256(graph).hexdigest(),
        input=Image(name="image"),
        output=Image(name="styled"),
    )
    return msgspec.structs.replace(plain, **changes)


def model_of(
    nodes: list[NodeProto],
    weights: dict[str, npt.NDArray[Any]] | None = None,
    *,
    source: Image | None = None,
    target: Image | None = None,
    shape: tuple[Any, ...] = ("n", 3, "h", "w"),
    output_shape: tuple[Any, ...] | None = None,
    opset: int = 17,
) -> ModelProto:
    """A model from `image` (or what `source` says) to `styled`."""
    source, target = source or Image(name="image"), target or Image(name="styled")
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(source.name, _TYPES[source.dtype], shape)],
        [helper.make_tensor_value_info(target.name, _TYPES[target.dtype], output_shape or shape)],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def identity(**keywords: Any) -> bytes:
    """A network that changes nothing."""
    source, target = keywords.get("source"), keywords.get("target")
    name_in, name_out = (source.name if source else "image"), (target.name if target else "styled")
    return model_of([helper.make_node("Identity", [name_in], [name_out])], **keywords).SerializeToString()


class Painter:
    """A tiny feed-forward style network: head, down, one residual block, up, tail. Weights by `seed`."""

    def __init__(self, width: int = 4, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        w = width
        shapes = {
            "head": (w, 3, 9, 9),
            "down": (2 * w, w, 3, 3),
            "block": (2 * w, 2 * w, 3, 3),
            "up": (w, 2 * w, 3, 3),
            "tail": (3, w, 9, 9),
        }
        self.weights: dict[str, npt.NDArray[Any]] = {}
        for name, shape in shapes.items():
            deviation = (0.5 if name == "tail" else 1.4) / np.sqrt(np.prod(shape[1:]))
            self.weights[name] = (random.standard_normal(shape) * deviation).astype(np.float32)
            self.weights[f"{name}.norm"] = random.uniform(0.8, 1.2, shape[0]).astype(np.float32)
            self.weights[f"{name}.bias"] = random.uniform(-0.1, 0.1, shape[0]).astype(np.float32)
        self.weights["tail.bias"] = np.full(3, 0.5, np.float32)

    def onnx(self) -> bytes:
        """The ONNX file: `image` to `styled`, NCHW RGB in 0..1, any even size."""
        nodes: list[NodeProto] = []
        constants: dict[str, npt.NDArray[Any]] = dict(self.weights)

        def node(kind: str, *inputs: str, out: str, **attributes: Any) -> str:
            nodes.append(helper.make_node(kind, inputs, [out], **attributes))
            return out

        def layer(value: str, name: str, *, stride: int = 1, relu: bool = True) -> str:
            pad = self.weights[name].shape[-1] // 2
            constants[f"{name}.pads"] = np.array([0, 0, pad, pad, 0, 0, pad, pad], np.int64)
            value = node("Pad", value, f"{name}.pads", out=f"{name}.padded", mode="reflect")
            value = node("Conv", value, name, out=f"{name}.conv", strides=[stride, stride])
            value = node("InstanceNormalization", value, f"{name}.norm", f"{name}.bias", out=f"{name}.normed")
            return node("Relu", value, out=f"{name}.relu") if relu else value

        value = layer("image", "head")
        value = layer(value, "down", stride=2)
        value = node("Add", value, layer(value, "block", relu=False), out="sum")
        constants["twice"] = np.array([1, 1, 2, 2], np.float32)
        value = node(
            "Resize",
            value,
            "",
            "twice",
            out="larger",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        value = layer(value, "up")
        constants["tail.pads"] = np.array([0, 0, 4, 4, 0, 0, 4, 4], np.int64)
        value = node("Pad", value, "tail.pads", out="tail.padded", mode="reflect")
        node("Conv", value, "tail", "tail.bias", out="styled")
        constants.pop("tail.norm")
        return model_of(nodes, constants).SerializeToString()

    def torch(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """What PyTorch makes of uint8 [n, h, w, 3], before rounding, in 0..255."""
        import torch
        from torch.nn import functional

        weights = {name: torch.from_numpy(value) for name, value in self.weights.items()}

        def layer(value: Any, name: str, *, stride: int = 1) -> Any:
            pad = weights[name].shape[-1] // 2
            value = functional.conv2d(functional.pad(value, (pad,) * 4, "reflect"), weights[name], stride=stride)
            return functional.instance_norm(value, weight=weights[f"{name}.norm"], bias=weights[f"{name}.bias"])

        with torch.inference_mode():
            value = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float() / 255
            value = layer(value, "head").relu()
            value = layer(value, "down", stride=2).relu()
            value = value + layer(value, "block")
            value = layer(functional.interpolate(value, scale_factor=2, mode="nearest"), "up").relu()
            value = functional.conv2d(
                functional.pad(value, (4,) * 4, "reflect"), weights["tail"], weights["tail.bias"]
            )
            result: npt.NDArray[np.float64] = (value * 255).clamp(0, 255).double().numpy().transpose(0, 2, 3, 1)
            return result


def picture(height: int, width: int, *, count: int = 1, seed: int = 0) -> npt.NDArray[np.uint8]:
    """uint8 [count, height, width, 3]: a gradient, shapes and a little noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [128 + 90 * np.sin(x / (7 + c) + c) * np.cos(y / (9 - c)) for c in range(3)]
    plain = np.stack(planes, axis=-1)[None] + random.normal(0, 8, (count, height, width, 3))
    return np.clip(plain, 0, 255).astype(np.uint8)
