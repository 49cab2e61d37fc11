"""A network in half precision, for GPUs: half the memory traffic, and tensor cores."""

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from models.errors import ModelRefused
from models.style.manifest import StyleManifest

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

_FLOAT: Final = 1  # of TensorProto.DataType
_FLOAT16: Final = 10
# Inputs that stay float32 by ONNX's own rules: regions and scales.
_KEPT: Final = {"Resize": (1, 2), "Upsample": (1,)}


def halved(model: "ModelProto", manifest: StyleManifest) -> "tuple[ModelProto, StyleManifest]":
    """The network with weights and arithmetic in float16, and the manifest that says so.

    Raises ModelRefused if a weight is too large for float16. Whether activations are, only running it tells.
    """
    from onnx import ModelProto

    whole = ModelProto()
    whole.CopyFrom(model)
    _halve(whole.graph, manifest.file)
    sides = (
        msgspec.structs.replace(side, dtype="float16") if side.dtype == "float32" else side
        for side in (manifest.input, manifest.output)
    )
    source, target = sides
    return whole, msgspec.structs.replace(manifest, input=source, output=target)


def _halve(graph: "GraphProto", file: str) -> None:
    kept = {
        node.input[i]
        for node in graph.node
        for i in _KEPT.get(node.op_type, ())
        if i < len(node.input) and node.input[i]
    }
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _halve_tensor(tensor, file)
    for node in graph.node:
        makes_kept = any(name in kept for name in node.output)
        for attribute in node.attribute:
            if not makes_kept:
                _halve_attribute(node.op_type, attribute, file)
            for each in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                _halve(each, file)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == _FLOAT:
            value.type.tensor_type.elem_type = _FLOAT16
    graph.ClearField("value_info")


def _halve_attribute(kind: str, attribute: "AttributeProto", file: str) -> None:
    if kind == "Cast" and attribute.name == "to" and attribute.i == _FLOAT:
        attribute.i = _FLOAT16
    elif attribute.HasField("t"):
        _halve_tensor(attribute.t, file)
    elif kind == "Constant" and attribute.name in ("value_float", "value_floats"):
        values: Any = attribute.f if attribute.name == "value_float" else list(attribute.floats)
        from onnx import AttributeProto, numpy_helper

        attribute.Clear()
        attribute.name, attribute.type = "value", AttributeProto.TENSOR
        attribute.t.CopyFrom(numpy_helper.from_array(np.asarray(values, np.float16)))


def _halve_tensor(tensor: "TensorProto", file: str) -> None:
    from onnx import numpy_helper

    if tensor.data_type != _FLOAT:
        return
    wide = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float16)
    if np.isinf(narrow).any() and not np.isinf(wide).any():
        raise ModelRefused(f"{file}: weights of {tensor.name} are too large for half precision")
    tensor.CopyFrom(numpy_helper.from_array(narrow, tensor.name))
