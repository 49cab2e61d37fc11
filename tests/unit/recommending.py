"""A small catalogue with a known structure, for tests of the recommender."""

import time

import numpy as np

from models.manifest import Manifest
from models.recommend.bundle import KIND, AlsBundle, encode_bundle
from models.recommend.catalogue import Catalogue
from models.registry import Registry
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
