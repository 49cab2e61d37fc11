"""ONNX models from their nodes, all of one opset."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from models.manifest import TensorSpec

if TYPE_CHECKING:
    from onnx import NodeProto

_OPSET: Final = 18
_IR_VERSION: Final = 9


def onnx_model(
    name: str,
    nodes: "Sequence[NodeProto]",
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    constants: Mapping[str, npt.NDArray[np.generic]],
) -> bytes:
    """The checked graph of `nodes`: equal arguments give equal bytes. onnx raises what it finds wrong with them."""
    from onnx import TensorProto, checker, helper, numpy_helper

    types = {"int64": TensorProto.INT64, "float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT}
    entering, leaving = (
        [helper.make_tensor_value_info(spec.name, types[spec.dtype], spec.shape) for spec in specs]
        for specs in (inputs, outputs)
    )
    initializers = [numpy_helper.from_array(array, key) for key, array in constants.items()]
    graph = helper.make_graph(nodes, name, entering, leaving, initializers)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="penstock"
    )
    checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data
