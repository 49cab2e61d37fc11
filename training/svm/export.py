"""The bank graph, and the proof that it answers what scikit-learn answers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.features import FEATURES
from models.inference import ModelBank
from models.inference.weights import Float64, merge
from models.manifest import TensorSpec
from models.windowspec import WindowSpec
from training.graphs import onnx_model
from training.history import Series
from training.svm.fit import Fitted

PARITY_TOLERANCE = 1e-5
"""Largest difference of the decision value, as a share of max(1, nu * n)."""

_PROBES = 256
_FAR_PROBES = 16
_F = len(FEATURES)

INPUTS = [
    TensorSpec("idx", "int64", ["B"]),
    TensorSpec("x", "float64", ["B", _F]),
    TensorSpec("mean", "float64", ["D", _F]),
    TensorSpec("inv", "float32", ["D", _F]),
    TensorSpec("sv", "float32", ["D", "S", _F + 2]),
    TensorSpec("rho", "float32", ["D"]),
]
OUTPUTS = [TensorSpec("dec", "float32", ["B"]), TensorSpec("dist", "float32", ["B"])]


def bank_graph() -> bytes:
    """The ONNX graph of `models.inference.bank`; the same for every fleet, so always the same bytes."""
    from onnx import TensorProto, helper

    node = helper.make_node
    nodes = [
        # Subtract in float64, then cast: with mean / scale at 1e6 float32 would lose the reading.
        node("Gather", ["mean", "idx"], ["mean_b"]),
        node("Sub", ["x", "mean_b"], ["centred64"]),
        node("Cast", ["centred64"], ["centred"], to=TensorProto.FLOAT),
        node("Gather", ["inv", "idx"], ["inv_b"]),
        node("Mul", ["centred", "inv_b"], ["z"]),
        # v = (z, 1, |z|^2), so that one product gives log(coef) - gamma * |s - z|^2.
        node("ReduceSumSquare", ["z", "last"], ["square"], keepdims=1),
        node("Shape", ["square"], ["column"]),
        node("Expand", ["one", "column"], ["ones"]),
        node("Concat", ["z", "ones", "square"], ["v"], axis=1),
        node("Unsqueeze", ["v", "last"], ["v_column"]),
        node("Gather", ["sv", "idx"], ["sv_b"]),
        node("MatMul", ["sv_b", "v_column"], ["e_column"]),
        node("Squeeze", ["e_column", "last"], ["e"]),
        # Log-sum-exp written out: faster than the single operator, and safe from overflow.
        node("ReduceMax", ["e", "last"], ["top"], keepdims=1),
        node("Sub", ["e", "top"], ["below"]),
        node("Exp", ["below"], ["parts"]),
        node("ReduceSum", ["parts", "last"], ["sum"], keepdims=1),
        node("Log", ["sum"], ["log_sum"]),
        node("Add", ["log_sum", "top"], ["l_column"]),
        node("Squeeze", ["l_column", "last"], ["l"]),
        node("Gather", ["rho", "idx"], ["rho_b"]),
        node("Exp", ["l"], ["kernel"]),
        node("Sub", ["kernel", "rho_b"], ["dec"]),
        node("Log", ["rho_b"], ["log_rho"]),
        node("Sub", ["log_rho", "l"], ["dist"]),
    ]
    constants: dict[str, npt.NDArray[np.generic]] = {
        "last": np.array([-1], dtype=np.int64),
        "one": np.array([[1.0]], dtype=np.float32),
    }
    return onnx_model("one_class_svm_bank", nodes, INPUTS, OUTPUTS, constants)


def parity(fitted: Sequence[Fitted]) -> dict[Series, float]:
    """Largest difference of the decision value between bank and scikit-learn per series, over max(1, nu * n).

    Compared on up to 256 training windows and some points far out; inf where the bank gives no finite answer.
    """
    if not fitted:
        return {}
    bank = ModelBank(merge([fit.row for fit in fitted]), bank_graph(), version="parity", spec=WindowSpec(1, 1))
    differences: dict[Series, float] = {}
    for fit in fitted:
        probes = _probes(fit)
        device, sensor = fit.windows.series
        scores = bank.score([device] * len(probes), [sensor] * len(probes), probes)
        difference = np.abs(scores.decision - fit.estimator.decision_function(probes)).max()
        unit = max(1.0, float(fit.row.nu[0] * fit.row.windows[0]))
        differences[fit.windows.series] = float(difference) / unit if scores.scored.all() else float("inf")
    return differences


def _probes(fit: Fitted) -> Float64:
    features = fit.windows.features
    seen = features[np.linspace(0, len(features) - 1, min(_PROBES, len(features))).astype(np.int64)]
    # Seeded: equal data must give an equal verdict.
    directions = np.random.default_rng(0).normal(size=(_FAR_PROBES, _F))
    reach = np.geomspace(0.5, 30.0, _FAR_PROBES)[:, None]
    return np.concatenate([seen, fit.row.mean + directions * reach * fit.row.scale])
