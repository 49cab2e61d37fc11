"""The two graphs of an ALS version, which are the same bytes for all: weights are their inputs.

`topk.onnx` scores all items for one user and takes the best; `foldin.onnx` solves the normal equations of ALS for one
user's ratings. Opset 18 has no solver, so it runs conjugate gradients in a loop, in float64 and in the basis that
turns G + ridge I into the identity: there the condition number is at most 1 + max(w), some ten steps.
"""

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from models.manifest import TensorSpec
from training.graphs import onnx_model

if TYPE_CHECKING:
    from onnx import GraphProto

_MOST_STEPS: Final = 2_000
_ENOUGH: Final = 1e-20
"""Of the squared residual, over the squared right-hand side."""

TOPK_INPUTS: Final = [
    TensorSpec("user", "float32", ["f"]),
    # One column per item: onnxruntime reads it once, in order; one row per item is 16 times slower.
    TensorSpec("items", "float32", ["f", "n"]),
    TensorSpec("masked", "int64", ["m"]),
    TensorSpec("k", "int64", [1]),
]
TOPK_OUTPUTS: Final = [TensorSpec("item", "int64", ["found"]), TensorSpec("score", "float32", ["found"])]
FOLDIN_INPUTS: Final = [
    TensorSpec("rated", "float32", ["m", "f"]),
    TensorSpec("weight", "float32", ["m"]),
    TensorSpec("target", "float32", ["m"]),
    TensorSpec("basis", "float64", ["f", "f"]),
    TensorSpec("spectrum", "float64", ["f"]),
    TensorSpec("ridge", "float64", [1]),
]
FOLDIN_OUTPUTS: Final = [TensorSpec("user", "float32", ["f"])]


def topk_graph() -> bytes:
    """`user` times `items`, masked places at minus infinity, the best `k`: best first, ties to the lower place.

    Masked items are never among them, so fewer than k come out when fewer are left. k above n is n.
    """
    from onnx import helper

    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["user", "first"], ["row"]),
        node("MatMul", ["row", "items"], ["scores_row"]),
        node("Squeeze", ["scores_row", "first"], ["scores"]),
        node("Shape", ["masked"], ["masked_shape"]),
        node("Expand", ["minus_infinity", "masked_shape"], ["nothing"]),
        node("ScatterElements", ["scores", "masked", "nothing"], ["left"], axis=0),
        node("Shape", ["scores"], ["n"]),
        node("Min", ["k", "n"], ["most"]),
        # Equal values come in the order of their places (definition of the operator).
        node("TopK", ["left", "most"], ["best", "place"], axis=0, largest=1, sorted=1),
        node("Greater", ["best", "minus_infinity"], ["allowed"]),
        node("Compress", ["place", "allowed"], ["item"], axis=0),
        node("Compress", ["best", "allowed"], ["score"], axis=0),
    ]
    constants: dict[str, npt.NDArray[np.generic]] = {
        "first": np.array([0], dtype=np.int64),
        "minus_infinity": np.array([-np.inf], dtype=np.float32),
    }
    return onnx_model("topk", nodes, TOPK_INPUTS, TOPK_OUTPUTS, constants)


def foldin_graph() -> bytes:
    """The x of (G + ridge I + R^T diag(weight) R) x = R^T target,
    R = `rated` and G = basis diag(spectrum) basis^T.

    With W = basis diag((spectrum + ridge)^-1/2) and B = R W it solves (I + B^T diag(weight) B) z = B^T target by
    conjugate gradients (Hestenes & Stiefel 1952), and x = W z. No ratings give zeros.
    """
    from onnx import TensorProto, helper

    node = helper.make_node
    nodes = [
        *(node("Cast", [name], [f"{name}_64"], to=TensorProto.DOUBLE) for name in ("rated", "weight", "target")),
        node("Add", ["spectrum", "ridge"], ["shifted"]),
        node("Sqrt", ["shifted"], ["root"]),
        node("Div", ["basis", "root"], ["whitener"]),
        node("MatMul", ["rated_64", "whitener"], ["white"]),
        node("Transpose", ["white"], ["white_t"], perm=[1, 0]),
        node("Mul", ["white_t", "weight_64"], ["weighted_t"]),
        node("MatMul", ["weighted_t", "white"], ["product"]),
        node("EyeLike", ["product"], ["identity"]),
        node("Add", ["product", "identity"], ["system"]),
        # From the left: onnxruntime 1.32 fuses a transposed matrix times a vector into a wrong product.
        node("MatMul", ["target_64", "white"], ["right"]),
        node("Mul", ["right", "zero"], ["start"]),
        node("MatMul", ["right", "right"], ["square"]),
        node("Mul", ["square", "enough"], ["stop_at"]),
        node("Greater", ["square", "zero_scalar"], ["any"]),
        node(
            "Loop",
            ["most_steps", "any", "start", "right", "right", "square"],
            ["z", "residual", "direction", "last_square"],
            body=_step(),
        ),
        node("MatMul", ["whitener", "z"], ["user_64"]),
        node("Cast", ["user_64"], ["user"], to=TensorProto.FLOAT),
    ]
    constants = {
        "zero": np.array([0.0]),
        "zero_scalar": np.array(0.0),
        "enough": np.array(_ENOUGH),
        "most_steps": np.array(_MOST_STEPS, dtype=np.int64),
    }
    return onnx_model("foldin", nodes, FOLDIN_INPUTS, FOLDIN_OUTPUTS, constants)


def _step() -> "GraphProto":
    """One step of conjugate gradients; `system` and `stop_at` come from the graph around it."""
    from onnx import TensorProto, helper

    node, value = helper.make_node, helper.make_tensor_value_info
    double, vector = TensorProto.DOUBLE, ["f"]
    nodes = [
        node("MatMul", ["system", "p"], ["image"]),
        node("MatMul", ["p", "image"], ["curvature"]),
        node("Div", ["rr", "curvature"], ["length"]),
        node("Mul", ["p", "length"], ["move"]),
        node("Add", ["z_in", "move"], ["z_out"]),
        node("Mul", ["image", "length"], ["change"]),
        node("Sub", ["r", "change"], ["r_out"]),
        node("MatMul", ["r_out", "r_out"], ["rr_out"]),
        node("Div", ["rr_out", "rr"], ["share"]),
        node("Mul", ["p", "share"], ["old"]),
        node("Add", ["r_out", "old"], ["p_out"]),
        node("Greater", ["rr_out", "stop_at"], ["again"]),
    ]
    inputs = [
        value("step", TensorProto.INT64, []),
        value("go", TensorProto.BOOL, []),
        *(value(name, double, vector) for name in ("z_in", "r", "p")),
        value("rr", double, []),
    ]
    outputs = [
        value("again", TensorProto.BOOL, []),
        *(value(name, double, vector) for name in ("z_out", "r_out", "p_out")),
        value("rr_out", double, []),
    ]
    return helper.make_graph(nodes, "step", inputs, outputs)
