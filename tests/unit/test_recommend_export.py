"""The graphs of a recommender answer what NumPy answers, and a graph that does not is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelRefused
from models.inference.foldin import FoldIn
from models.inference.topk import ExactSearch
from models.recommend.equations import Equations
from tests.unit.recommending import small_bundle
from training.recommend.export import foldin_graph, topk_graph
from training.recommend.parity import check_parity, reference_topk

RULES = [
    Equations("native", "implicit", "ones", 20.0, 2.0),
    Equations("native", "implicit", "ratings", 0.1, 40.0),
    Equations("native", "implicit", "ratings", 5.0, 0.1),
    Equations("spark", "implicit", "ones", 0.2, 2.0),
    Equations("spark", "implicit", "ratings", 0.1, 1.0),
    Equations("native", "explicit", "ones", 0.05, 1.0),
]


@pytest.mark.parametrize("equations", RULES, ids=str)
def test_the_graphs_answer_what_numpy_answers(equations: Equations) -> None:
    bundle = small_bundle(400, 12)
    errors = check_parity(bundle, equations)
    assert errors["foldin_error"] < 1e-6
    assert errors["topk_error"] < 1e-6


@given(st.data())
def test_equal_scores_come_in_the_order_of_their_ids(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 60))
    levels = data.draw(st.lists(st.integers(-2, 2), min_size=n, max_size=n))
    masked = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1)))), dtype=np.int64)
    k = data.draw(st.integers(1, n + 3))
    factors = np.array(levels, dtype=np.float32)[:, None]
    found = ExactSearch(topk_graph(), factors).top(np.ones(1, dtype=np.float32), masked, k)
    expected = reference_topk(factors[:, 0], masked, k)
    np.testing.assert_array_equal(found.places, expected.places)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_the_vector_of_a_trained_user_is_that_of_the_library() -> None:
    implicit = pytest.importorskip("implicit.als")
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(3)
    seen = csr_matrix((rng.random((50, 30)) < 0.3).astype(np.float32))
    with threadpool_limits(1, "blas"):  # the library warns of more
        model = implicit.AlternatingLeastSquares(
            factors=6, regularization=2.0, alpha=3.0, iterations=4, random_state=1, num_threads=1
        )
        model.fit(seen, show_progress=False)
    fold = FoldIn(foldin_graph(), model.item_factors, Equations("native", "implicit", "ones", 2.0, 3.0))
    for user in range(5):
        places = seen[user].indices.astype(np.int64)
        mine = fold.user(places, np.ones(len(places), dtype=np.float32))
        np.testing.assert_allclose(mine, model.recalculate_user(user, seen[user]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("equations", RULES, ids=str)
def test_the_contributions_of_rated_items_add_up_to_the_score(equations: Equations) -> None:
    bundle = small_bundle()
    fold = FoldIn(bundle.foldin, bundle.factors, equations)
    places, ratings = np.array([1, 5, 30]), np.array([4.0, 2.5, 5.0], dtype=np.float32)
    chosen = np.array([2, 7])
    shares = fold.contributions(places, ratings, chosen)
    np.testing.assert_allclose(shares.sum(0), bundle.factors[chosen] @ fold.user(places, ratings), rtol=1e-5)


def test_a_graph_of_another_kind_is_refused() -> None:
    bundle = small_bundle()
    swapped = replace(bundle, topk=bundle.foldin, foldin=bundle.topk)
    with pytest.raises(ModelRefused, match=r"topk\.onnx: expected inputs user, items, masked, k"):
        check_parity(swapped, RULES[0])
    with pytest.raises(ModelRefused, match="cannot be loaded"):
        check_parity(replace(bundle, foldin=b"no graph"), RULES[0])


def test_equal_options_give_equal_graphs() -> None:
    assert topk_graph() == topk_graph()
    assert foldin_graph() == foldin_graph()
