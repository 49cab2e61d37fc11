"""A fitted factorization machine as ONNX, checked against the machine in PyTorch."""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from onnx import helper

from models.errors import ModelRefused
from models.inference.sessions import runtime
from models.manifest import TensorSpec
from models.recommend.fm_bundle import GRAPH_FILE
from training.graphs import onnx_model
from training.recommend.fm.fit import FmFit
from training.recommend.fm.model import Float64, FmModel, Places, sigmoid

INPUTS: Final = [TensorSpec("user", "int64", ["n"]), TensorSpec("item", "int64", ["n"])]
OUTPUTS: Final = [TensorSpec("probability", "float32", ["n"])]
_TOLERANCE: Final = 1e-5
_CHECKED: Final = 20_000


def build_fm(model: FmModel) -> bytes:
    """The graph: inputs `user` and `item`, int64 (n,), places or -1; output `probability`, float32 (n,), calibrated.

    A place of -1 stands for an id that is not known; one that is out of range fails the run.
    """
    weights: dict[str, npt.NDArray[np.generic]] = {
        "user_vectors": model.user_vectors,
        "user_biases": model.user_biases,
        "item_vectors": model.item_vectors,
        "item_biases": model.item_biases,
        "offset": np.array(model.offset, dtype=np.float32),
        "slope": np.array(model.slope, dtype=np.float32),
        "intercept": np.array(model.intercept, dtype=np.float32),
        "last": np.array([1], dtype=np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["user_vectors", "user"], ["u"]),
        node("Gather", ["item_vectors", "item"], ["v"]),
        node("Gather", ["user_biases", "user"], ["user_bias"]),
        node("Gather", ["item_biases", "item"], ["item_bias"]),
        node("Mul", ["u", "v"], ["products"]),
        node("ReduceSum", ["products", "last"], ["pairs"], keepdims=0),
        node("Sum", ["pairs", "user_bias", "item_bias", "offset"], ["score"]),
        node("Mul", ["score", "slope"], ["scaled"]),
        node("Add", ["scaled", "intercept"], ["logit"]),
        node("Sigmoid", ["logit"], ["probability"]),
    ]
    return onnx_model("factorization_machine", nodes, INPUTS, OUTPUTS, weights)


def check_parity(fit: FmFit, graph: bytes) -> float:
    """Largest difference of a probability between `graph` and the machines in PyTorch.

    On 20,000 drawn pairs, or all where there are fewer, and with unknown ids. Raises ModelRefused above 1e-5.
    """
    model = fit.model
    session = runtime().InferenceSession(graph, providers=["CPUExecutionProvider"])
    user, item = _pairs(model)
    (given,) = session.run(["probability"], {"user": user, "item": item})
    difference = float(np.abs(given - _probability(fit, user, item)).max())
    unknown = np.array([-1, 0, -1]), np.array([0, -1, -1])
    (given,) = session.run(["probability"], {"user": unknown[0], "item": unknown[1]})
    difference = max(difference, float(np.abs(given - model.probability(*unknown)).max()))
    if not difference <= _TOLERANCE:
        raise ModelRefused(
            f"{GRAPH_FILE}: probabilities differ from PyTorch's by {difference:.1e}, allowed {_TOLERANCE:.0e}"
        )
    return difference


def _pairs(model: FmModel) -> tuple[Places, Places]:
    count = len(model.users) * len(model.items)
    if count <= _CHECKED:
        chosen = np.arange(count)
    else:
        chosen = np.random.default_rng(model.options.seed).integers(0, count, _CHECKED)
    return chosen // len(model.items), chosen % len(model.items)


def _probability(fit: FmFit, user: Places, item: Places) -> Float64:
    device = fit.machines.table.device
    score = fit.machines.mean_score(torch.from_numpy(user).to(device), torch.from_numpy(item).to(device))
    return sigmoid(fit.model.slope * score.cpu().numpy().astype(np.float64) + fit.model.intercept)
