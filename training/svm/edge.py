"""One series' model as a file that a device scores itself with."""

from typing import TYPE_CHECKING

from models.features import FEATURES

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_OPSET = {"": 18, "ai.onnx.ml": 3}


def edge_graph(estimator: "Pipeline") -> bytes:
    """The pipeline (scaler, svm) as ONNX: `features` float64 (n, F) in; `label` int64, `scores` float32 (n, 1) out.

    The scaler stays in float64 and only its result is cast: with float32 inputs a sensor whose mean is a million
    times its spread would lose its readings before they are scaled.
    """
    import numpy as np
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType
    from skl2onnx.sklapi import CastTransformer
    from sklearn.pipeline import Pipeline

    scaler, svm = estimator.named_steps["scaler"], estimator.named_steps["svm"]
    narrow = CastTransformer(dtype=np.float32).fit(scaler.mean_[None, :])
    steps = Pipeline([("scaler", scaler), ("narrow", narrow), ("svm", svm)])
    features = DoubleTensorType([None, len(FEATURES)])
    model = to_onnx(steps, initial_types=[("features", features)], target_opset=_OPSET)
    data: bytes = model.SerializeToString()
    return data
