"""Approximate search: its scores are exact, nothing masked comes out, and it falls back to scoring all items."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.clustered import clustered
from models.errors import ModelRefused
from models.inference.approximate import ApproximateSearch
from models.inference.recommender import Recommender
from models.inference.search import open_search
from models.inference.topk import best_of
from models.recommend.bundle import decode_bundle, encode_bundle
from models.recommend.catalogue import Catalogue
from tests.unit.recommending import manifest_of, small_bundle
from training.recommend.index import build_index, with_index

CROWD = clustered(4_000, 16, 60)
INDEX = build_index(CROWD.items)


def exact(user: int, masked: np.ndarray, k: int) -> np.ndarray:
    return best_of(CROWD.items @ CROWD.users[user], masked, k).places


def test_the_scores_of_what_is_found_are_exact_and_in_order() -> None:
    search = ApproximateSearch(INDEX, CROWD.items, probes=4)
    for user, seen in enumerate(CROWD.seen):
        found = search.top(CROWD.users[user], seen, 10)
        np.testing.assert_allclose(found.scores, CROWD.items[found.places] @ CROWD.users[user], rtol=1e-5)
        assert (np.diff(found.scores) <= 0).all()
        assert not np.isin(found.places, seen).any()
        assert len(np.unique(found.places)) == 10


def test_with_all_probes_it_finds_what_the_exact_search_finds() -> None:
    search = ApproximateSearch(INDEX, CROWD.items, probes=128)
    hits = [
        np.isin(exact(u, s, 10), search.top(CROWD.users[u], s, 10).places).mean() for u, s in enumerate(CROWD.seen)
    ]
    assert np.mean(hits) > 0.99


@pytest.mark.parametrize("left", [3, 50])
def test_when_the_mask_eats_the_candidates_all_items_are_scored(left: int) -> None:
    search = ApproximateSearch(INDEX, CROWD.items, probes=1)
    masked = np.arange(left, 4_000)
    np.testing.assert_array_equal(search.top(CROWD.users[0], masked, 10).places, exact(0, masked, 10))
    near = exact(0, np.empty(0, dtype=np.int64), 3_000)  # all that one list holds
    np.testing.assert_array_equal(search.top(CROWD.users[0], near, 10).places, exact(0, near, 10))


def test_an_index_is_registered_with_as_many_probes_as_its_recall_needs() -> None:
    n = len(CROWD.items)
    order = [str(i) for i in range(n)]
    catalogue = Catalogue(order, [""] * n, [[]] * n, np.ones(n, dtype=np.int64))
    bundle = replace(small_bundle(), factors=CROWD.items, catalogue=catalogue)
    indexed, parameters = with_index(bundle, CROWD.users, recall=0.95)
    assert float(parameters["index_recall"]) >= 0.95
    manifest = manifest_of(**parameters)
    read = decode_bundle(manifest, encode_bundle(indexed).__getitem__)
    assert isinstance(open_search(manifest.parameters, read), ApproximateSearch)
    assert len(Recommender(manifest, read).top(CROWD.users[0], CROWD.seen[0], 5).places) == 5


def test_an_index_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ModelRefused, match="cannot be read"):
        ApproximateSearch(b"no index", CROWD.items, probes=4)
    with pytest.raises(ModelRefused, match="4000 x 16"):
        ApproximateSearch(INDEX, CROWD.items[:-1], probes=4)
    with pytest.raises(ModelRefused, match="probes"):
        ApproximateSearch(INDEX, CROWD.items, probes=0)
    with pytest.raises(ModelRefused, match="parameter search"):
        open_search({"search": "abacus"}, small_bundle())


def test_without_the_library_only_versions_with_an_index_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ModelRefused, match="install faiss-cpu"):
        open_search({"search": "faiss-ivf", "probes": 4}, replace(small_bundle(), index=INDEX))
    assert open_search({"search": "exact"}, small_bundle()) is not None
