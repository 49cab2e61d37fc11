"""Scoring of arrays with ONNX models, in any process: numpy and onnxruntime only, no training libraries.

`bank` scores windows of many series in one graph, `weights` is its stored form and `guards` the checks that every
fit passes, at training and at each load. `recommender` and `fm` answer from a version of a recommender. `live` keeps
what the registry calls live.
"""

from models.inference.bank import ModelBank, Scores, load_bank
from models.inference.live import LiveBank, LiveModel

__all__ = ["LiveBank", "LiveModel", "ModelBank", "Scores", "load_bank"]
