"""The functions host with a registered recommender and users who have rated, on storage of its own."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.clustered import Crowd
from infra.azure.blobs import AzureBlobs
from infra.local.azurite import running_azurite
from infra.state.sqlite import SqliteState
from models.manifest import Manifest
from models.ports import Put
from models.recommend.bundle import KIND, AlsBundle, encode_bundle
from models.recommend.catalogue import Catalogue
from models.recommend.profile import (
    CONTAINER,
    PROFILE_ID,
    Profile,
    Rated,
    digest_of,
    encode_profile,
    stored_factor,
    user_partition,
)
from models.registry import Registry
from training.recommend.export import TOPK_INPUTS, TOPK_OUTPUTS, foldin_graph, topk_graph

ROOT = Path(__file__).parents[1]
PARAMETERS: dict[str, int | float | str] = {
    "engine": "native",
    "objective": "implicit",
    "confidence": "ones",
    "regularization": 20.0,
    "alpha": 2.0,
}
_FOLDED = 10
"""Every tenth user has no stored vector and is folded in."""


@dataclass(frozen=True)
class Serving:
    """A running host; `key` opens its functions."""

    port: int
    key: str
    pid: int


def bundle_of(crowd: Crowd) -> AlsBundle:
    """The crowd's items as a version."""
    n = len(crowd.items)
    width = len(str(n))
    catalogue = Catalogue(
        items=[f"item-{place:0{width}d}" for place in range(n)],
        titles=[f"The item with number {place}" for place in range(n)],
        genres=[["Drama"] if place % 3 else ["Comedy", "Short"] for place in range(n)],
        ratings=np.random.default_rng(0).zipf(1.5, n).clip(max=100_000).astype(np.int64),
    )
    return AlsBundle(crowd.items, catalogue, topk_graph(), foldin_graph())


def manifest_of(model: str = "recommender", version: str = "bench") -> Manifest:
    """A manifest for `bundle_of`."""
    return Manifest(
        kind=KIND,
        model=model,
        version=version,
        created_at=0.0,
        creator="benchmark",
        inputs=TOPK_INPUTS,
        outputs=TOPK_OUTPUTS,
        metrics={},
        parameters=PARAMETERS,
        data_fingerprint="0" * 64,
    )


def write_profiles(state: SqliteState, crowd: Crowd, items: list[str], version: str = "bench") -> None:
    """One profile per user of the crowd, named user-0 and so on, with its seen items and mostly its vector."""
    for user, (seen, vector) in enumerate(zip(crowd.seen, crowd.users, strict=True)):
        ratings = {
            items[place]: Rated(float(1 + place % 5), 1_700_000_000_000_000 + i)
            for i, place in enumerate(seen.tolist())
        }
        profile = Profile(ratings=ratings)
        if user % _FOLDED:
            factor = stored_factor(version, digest_of(profile), vector)
            profile = Profile(ratings=ratings, factors={"recommender": factor})
        state.transact(CONTAINER, user_partition(f"user-{user}"), [Put(PROFILE_ID, encode_profile(profile))])


@contextlib.contextmanager
def serving(folder: Path, crowd: Crowd) -> Iterator[Serving]:
    """The host on free ports, warm, ended with the block."""
    with running_azurite(folder / "azurite") as azurite:
        blobs = AzureBlobs(azurite.connection_string)
        registry = Registry(blobs, "recommender")
        bundle = bundle_of(crowd)
        registry.publish(manifest_of(), encode_bundle(bundle))
        registry.promote("bench")
        blobs.close()
        state = SqliteState(folder / "state.sqlite")
        write_profiles(state, crowd, bundle.catalogue.items)
        state.close()
        environment = {
            **os.environ,
            "AzureWebJobsStorage": azurite.connection_string,
            "DataStorage": azurite.connection_string,
            "PENSTOCK_STATE_PATH": str(folder / "state.sqlite"),
            "PENSTOCK_SWEEP_SCHEDULE": "0 0 0 1 1 *",
            "PENSTOCK_LEARN_SCHEDULE": "0 0 0 1 1 *",
        }
        command = [sys.executable, "-m", "infra.local.functions_host", "--app", str(ROOT), "--port", "0"]
        with (folder / "host.log").open("w") as errors:
            host = subprocess.Popen(
                [*command, "--data-dir", str(folder / "host")],
                env=environment, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        try:
            assert host.stdout is not None
            ready = json.loads(host.stdout.readline())
            key = json.loads((folder / "host" / "keys.json").read_text())["functionKeys"]["default"]
            yield Serving(ready["port"], key, host.pid)
        finally:
            host.terminate()
            host.wait(20)


def resident_mb(pid: int) -> float:
    """Memory of a process that is in use."""
    import psutil

    return float(psutil.Process(pid).memory_info().rss) / 1e6
