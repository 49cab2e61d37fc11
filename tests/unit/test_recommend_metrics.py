"""Metrics, against lists worked out by hand, and against scikit-learn where it has the same metric."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as sklearn_metrics

from models.errors import BadInput
from models.recommend import metrics

# Three users, k = 3. The first: hits at ranks 1 and 3 of two relevant. The second: no hit, one relevant.
# The third: a hit at rank 2, five relevant, more than k.
HITS = np.array([[True, False, True], [False, False, False], [False, True, False]])
RELEVANT = np.array([2, 1, 5])


def test_precision_divides_by_k_and_recall_by_what_is_relevant() -> None:
    assert metrics.precision_at_k(HITS) == pytest.approx((2 / 3 + 0 + 1 / 3) / 3)
    assert metrics.recall_at_k(HITS, RELEVANT) == pytest.approx((2 / 2 + 0 + 1 / 5) / 3)


def test_map_divides_by_all_that_is_relevant_and_map_at_k_by_k_at_most() -> None:
    precisions = [1 / 1 + 2 / 3, 0, 1 / 2]
    assert metrics.mean_average_precision(HITS, RELEVANT) == pytest.approx(
        (precisions[0] / 2 + precisions[2] / 5) / 3
    )
    assert metrics.map_at_k(HITS, RELEVANT) == pytest.approx((precisions[0] / 2 + precisions[2] / 3) / 3)


def test_ndcg_discounts_by_the_logarithm_of_the_rank_and_compares_with_the_best_list() -> None:
    gain = [1 / math.log(1 + rank) for rank in (1, 2, 3)]
    by_user = [(gain[0] + gain[2]) / (gain[0] + gain[1]), 0, gain[1] / sum(gain)]
    assert metrics.ndcg_at_k(HITS, RELEVANT) == pytest.approx(sum(by_user) / 3)


def test_a_perfect_list_scores_one_except_where_more_is_relevant_than_k() -> None:
    hits, relevant = np.ones((2, 3), dtype=bool), np.array([3, 6])
    assert metrics.ndcg_at_k(hits, relevant) == metrics.map_at_k(hits, relevant) == metrics.precision_at_k(hits) == 1
    assert metrics.recall_at_k(hits, relevant) == metrics.mean_average_precision(hits, relevant) == (1 + 1 / 2) / 2


def test_a_list_shorter_than_k_keeps_k_as_the_divisor() -> None:
    lists = np.array([[4, -1, -1]])
    hits, relevant = metrics.hits_in(lists, np.array([0, 0]), np.array([4, 2]))
    assert hits.tolist() == [[True, False, False]]
    assert relevant.tolist() == [2]
    assert metrics.precision_at_k(hits) == pytest.approx(1 / 3)


def test_hits_are_looked_up_per_user() -> None:
    lists = np.array([[1, 2], [2, 3]])
    hits, relevant = metrics.hits_in(lists, np.array([0, 0, 1]), np.array([2, 3, 3]))
    assert hits.tolist() == [[False, True], [False, True]]
    assert relevant.tolist() == [2, 1]


def test_equal_scores_are_listed_with_the_lower_place_first() -> None:
    scores = np.array([[1.0, 2.0, 1.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert metrics.best_first(scores, 3).tolist() == [[1, 3, 0], [0, 1, 2]]
    assert metrics.best_first(scores, 5).tolist() == [[1, 3, 0, 2, 4], [0, 1, 2, 3, 4]]


def test_masked_items_are_never_listed() -> None:
    scores = np.array([[-np.inf, 5.0, -np.inf], [-np.inf, -np.inf, -np.inf]])
    assert metrics.best_first(scores, 2).tolist() == [[1, -1], [-1, -1]]


@given(
    arrays.arrays(np.float32, (4, 7), elements=st.sampled_from([-1.5, 0.0, 0.5, 2.0, -math.inf])),
    st.integers(1, 7),
)
def test_the_best_are_those_of_a_full_stable_sort(scores: np.ndarray, k: int) -> None:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected = np.where(np.isneginf(np.take_along_axis(scores, order, axis=1)), -1, order)
    np.testing.assert_array_equal(metrics.best_first(scores, k), expected)


@pytest.mark.parametrize("k", [0, -1, 6, 1_000_000])
def test_k_beyond_the_catalogue_is_bad_input(k: int) -> None:
    with pytest.raises(BadInput, match=rf"k: expected 1\.\.5, .* got {k}"):
        metrics.best_first(np.zeros((1, 5)), k)


def test_coverage_counts_items_that_are_listed_anywhere() -> None:
    assert metrics.coverage(np.array([[0, 1], [1, -1]]), 8) == 2 / 8


def test_novelty_is_the_mean_information_of_the_listed_items() -> None:
    lists, count = np.array([[0, 1], [1, -1]]), np.array([1, 2, 5])
    assert metrics.novelty(lists, count) == pytest.approx((3 + 2 + 2) / 3)


def test_diversity_is_one_less_the_mean_similarity_within_lists() -> None:
    table = np.array([[1.0, 0.5, 0.1], [0.5, 1.0, 0.3], [0.1, 0.3, 1.0]])
    lists = np.array([[0, 1, 2], [1, 2, -1], [0, -1, -1]])
    found = metrics.diversity(lists, lambda a, b: table[a, b])
    assert found == pytest.approx(1 - ((0.5 + 0.1 + 0.3) / 3 + 0.3) / 2)
    assert metrics.diversity(lists[2:], lambda a, b: table[a, b]) == 0


def test_errors_of_ratings_worked_out_by_hand() -> None:
    truth, predicted = np.array([1.0, 2.0, 4.0, 5.0]), np.array([1.0, 3.0, 4.0, 3.0])
    assert metrics.rmse(truth, predicted) == pytest.approx(math.sqrt(5 / 4))
    assert metrics.mae(truth, predicted) == pytest.approx(3 / 4)
    assert metrics.r2(truth, predicted) == pytest.approx(1 - 5 / 10)
    assert math.isnan(metrics.r2(np.ones(2), np.zeros(2)))


def test_answers_worked_out_by_hand() -> None:
    positive = np.array([True, True, False, False])
    predicted = np.array([True, False, True, False])
    assert metrics.accuracy(positive, predicted) == 1 / 2
    assert metrics.f1(positive, predicted) == 1 / 2
    assert metrics.f1(positive, ~positive) == 0
    probability = np.array([0.5, 0.25, 0.5, 0.5])
    assert metrics.log_loss(positive, probability) == pytest.approx((3 * math.log(2) + math.log(4)) / 4)
    assert metrics.log_loss(positive, np.array([0.0, 1, 0, 0])) == math.inf
    # Of the four pairs: .5 beside .5 twice is two halves, .25 is below both.
    assert metrics.auc(positive, probability) == 1 / 4
    assert math.isnan(metrics.auc(np.ones(3, dtype=bool), np.zeros(3)))


def test_yes_or_no_metrics_equal_those_of_scikit_learn_also_with_ties() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(500) < 0.6
    probability = np.round(rng.uniform(0.05, 0.95, 500), 1)
    predicted = probability >= 0.5
    assert metrics.auc(positive, probability) == pytest.approx(sklearn_metrics.roc_auc_score(positive, probability))
    assert metrics.log_loss(positive, probability) == pytest.approx(sklearn_metrics.log_loss(positive, probability))
    assert metrics.f1(positive, predicted) == pytest.approx(sklearn_metrics.f1_score(positive, predicted))
    assert metrics.accuracy(positive, predicted) == sklearn_metrics.accuracy_score(positive, predicted)
