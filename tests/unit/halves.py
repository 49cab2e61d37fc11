"""Half precision on a CPU as a GPU has it: every value rounded to float16 before the next operator sees it.

ONNX Runtime's CPU provider computes a float16 graph in float32 and rounds where it comes out, so it would neither
overflow nor lose digits on the way.
"""

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference


def is_half(data: bytes) -> bool:
    """Whether the graph computes in float16."""
    return bool(_halves(ModelProto.FromString(data)))


def rounding(data: bytes) -> bytes:
    """The float16 graph as one in float32 whose values are rounded to float16 after each operator."""
    model = ModelProto.FromString(data)
    halves = _halves(model)
    for tensor in model.graph.initializer:
        _widen(tensor)
    nodes = []
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            if attribute.HasField("t"):
                _widen(attribute.t)
        rounded = [name for name in node.output if name in halves]
        for index, name in enumerate(node.output):
            if name in halves:
                node.output[index] = f"{name}.wide"
        nodes.append(node)
        for name in rounded:
            nodes.append(helper.make_node("Cast", [f"{name}.wide"], [f"{name}.narrow"], to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Cast", [f"{name}.narrow"], [name], to=TensorProto.FLOAT))
    made = ModelProto()
    made.CopyFrom(model)
    made.graph.ClearField("node")
    made.graph.ClearField("value_info")
    made.graph.node.extend(nodes)
    return made.SerializeToString()


def _halves(model: ModelProto) -> set[str]:
    """Names of the float16 values."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    return {
        each.name
        for each in (*inferred.value_info, *inferred.input, *inferred.output)
        if each.type.tensor_type.elem_type == TensorProto.FLOAT16
    }


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
