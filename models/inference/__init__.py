"""Scoring of arrays with ONNX models, in any process: numpy and onnxruntime only, no training libraries.

`bank` scores windows of many series in one graph, `live` keeps what the registry calls live, `weights` is
the stored form of a bank and `guards` the checks that every model passes, at training and at each load.
"""

from models.inference.bank import ModelBank, Scores, load_bank
from models.inference.live import LiveBank

__all__ = ["LiveBank", "ModelBank", "Scores", "load_bank"]
