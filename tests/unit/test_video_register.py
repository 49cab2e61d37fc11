"""A stranger's network is tried in a process of its own."""

import numpy as np
import pytest
from onnx import helper

from models.errors import ModelRefused
from tests.unit.styles import Painter, identity, manifest_of, model_of
from video.register import try_apart


def test_a_sound_network_passes_and_a_refusal_comes_back_from_the_other_process() -> None:
    painter = Painter().onnx()
    try_apart(painter, manifest_of(painter, multiple=2))
    with pytest.raises(ModelRefused, match="expects sha256"):
        try_apart(painter, manifest_of(identity()))


def test_a_network_that_asks_for_all_memory_is_refused() -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        helper.make_node("Add", ["image", "sum"], ["styled"]),
    ]
    graph = model_of(nodes, {"sizes": np.array([1 << 20, 1 << 20])}).SerializeToString()
    with pytest.raises(ModelRefused, match=r"toy\.onnx"):
        try_apart(graph, manifest_of(graph))


def test_a_network_that_is_not_done_in_time_is_refused() -> None:
    with pytest.raises(ModelRefused, match="not done with a small picture"):
        try_apart(identity(), manifest_of(identity()), limit_s=0.0)
