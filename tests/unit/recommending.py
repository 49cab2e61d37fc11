"""A small catalogue with a known structure, for tests of the recommender."""

import json
import time
from typing import Any

import azure.functions as func
import msgspec
import numpy as np

from functions.recommend.services import RecommendServices
from functions.recommend.variants import VariantCounter, Variants, parse_shares
from functions.recommendations import recommendations
from models.inference.fm import load_machine
from models.inference.live import Live
from models.inference.recommender import Recommender, load_recommender
from models.manifest import Manifest
from models.recommend.bundle import KIND, AlsBundle, encode_bundle
from models.recommend.catalogue import Catalogue
from models.recommend.fm_bundle import FmBundle, encode_fm
from models.registry import Registry
from tests.fakes import FakeBlobs, FakeSender, FakeState
from training.recommend.export import TOPK_INPUTS, TOPK_OUTPUTS, foldin_graph, topk_graph

PARAMETERS: dict[str, int | float | str] = {
    "engine": "native",
    "objective": "implicit",
    "confidence": "ones",
    "regularization": 1.0,
    "alpha": 2.0,
    "factors": 8,
}
_TOPK, _FOLDIN = topk_graph(), foldin_graph()


def small_bundle(n: int = 40, factors: int = 8, *, seed: int = 0) -> AlsBundle:
    """Items "1".."n": even ones are comedies, odd ones dramas, and lie near one of two directions."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, 0.2, (n, factors))
    vectors[0::2, 0] += 1.0
    vectors[1::2, 1] += 1.0
    items = [str(i + 1) for i in range(n)]
    catalogue = Catalogue(
        items=items,
        titles=[f"Title {item}" for item in items],
        genres=[["Drama"] if i % 2 == 0 else ["Comedy"] for i in range(n)],
        ratings=np.arange(n, 0, -1, dtype=np.int64),
    )
    return AlsBundle(vectors.astype(np.float32), catalogue, _TOPK, _FOLDIN)


def manifest_of(version: str = "v1", model: str = "recommender", **parameters: int | float | str) -> Manifest:
    return Manifest(
        kind=KIND,
        model=model,
        version=version,
        created_at=time.time(),
        creator="test",
        inputs=TOPK_INPUTS,
        outputs=TOPK_OUTPUTS,
        metrics={},
        parameters={**PARAMETERS, **parameters},
        data_fingerprint="0" * 64,
    )


def publish(registry: Registry, bundle: AlsBundle, version: str = "v1", *, promote: bool = True) -> None:
    registry.publish(manifest_of(version, registry.model), encode_bundle(bundle))
    if promote:
        registry.promote(version)


def small_recommender(version: str = "v1", *, seed: int = 0, **parameters: int | float | str) -> Recommender:
    return Recommender(manifest_of(version, **parameters), small_bundle(seed=seed))


class Desk:
    """The recommendation routes on fakes: `desk.get("u1/recommendations"...)` and so on."""

    def __init__(self, *, shares: str = "", promote: bool = True) -> None:
        self.blobs, self.state, self.sender = FakeBlobs(), FakeState(), FakeSender()
        self.clock = self.blobs.clock
        self.registry = Registry(self.blobs, "recommender")
        if promote:
            publish(self.registry, small_bundle())
        parts = parse_shares(shares, "recommender")
        models = {
            part.model: Live(Registry(self.blobs, part.model), self.clock, load_recommender, 2.0) for part in parts
        }
        self.here = RecommendServices(
            state=self.state,
            ratings=self.sender,
            clock=self.clock,
            variants=Variants(parts, models),
            counter=VariantCounter(self.state, self.clock),
            machine=Live(Registry(self.blobs, "recommender-fm"), self.clock, load_machine, 2.0),
        )
        app = func.FunctionApp()
        app.register_functions(recommendations(lambda: self.here))
        self.functions = {each.get_function_name(): each.get_user_function() for each in app.get_functions()}

    def call(
        self, function: str, id: str = "", body: bytes | dict[str, Any] = b"", **query: object
    ) -> tuple[int, dict[str, Any]]:
        """Status and body of one invocation."""
        request = func.HttpRequest(
            method="GET",
            url="/api/x",
            params={name: str(value) for name, value in query.items()},
            route_params={"id": id},
            body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        )
        answer = self.functions[function](request)
        assert answer.mimetype == "application/json"
        return answer.status_code, json.loads(answer.get_body())

    def recommend(self, user: str, **query: object) -> dict[str, Any]:
        status, body = self.call("recommend_user", user, **query)
        assert status == 200, body
        return body

    def rate(
        self, user: str, item: str, rating: float = 5.0, key: str = "", **more: object
    ) -> tuple[int, dict[str, Any]]:
        self.clock.advance(1)
        body = {"user": user, "item": item, "rating": rating, "key": key or f"{user}-{item}-{rating}", **more}
        return self.call("rate_item", body=body)


def items_of(body: dict[str, Any]) -> list[str]:
    return [item["item"] for item in body["items"]]


def small_machine() -> FmBundle:
    """Users "1".."3": the probability is sigmoid(user place - item place / 10)."""
    from onnx import TensorProto, helper

    node = helper.make_node
    nodes = [
        node("Cast", ["user"], ["u"], to=TensorProto.FLOAT),
        node("Cast", ["item"], ["v"], to=TensorProto.FLOAT),
        node("Constant", [], ["ten"], value_float=10.0),
        node("Div", ["v", "ten"], ["w"]),
        node("Sub", ["u", "w"], ["x"]),
        node("Sigmoid", ["x"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "fm",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n"]) for name in ("user", "item")],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return FmBundle(model.SerializeToString(), ["1", "2", "3"], small_bundle().catalogue)


def publish_machine(blobs: FakeBlobs, **parameters: int | float | str) -> None:
    registry = Registry(blobs, "recommender-fm")
    manifest = msgspec.structs.replace(
        manifest_of("f1", "recommender-fm"), kind="fm", parameters={"threshold": 0.5, **parameters}
    )
    registry.publish(manifest, encode_fm(small_machine()))
    registry.promote("f1")
