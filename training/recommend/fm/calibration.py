"""From scores to probabilities, and the threshold from which on the answer is yes. Both on a validation part."""

from typing import Final

import numpy as np

from training.recommend.fm.model import Float64, sigmoid
from training.recommend.splits import Bools

_STEPS: Final = 50
_ENOUGH: Final = 1e-10
_RIDGE: Final = 1e-6


def calibrate(score: Float64, positive: Bools) -> tuple[float, float]:
    """(slope, intercept) of the least log-loss of sigmoid(slope * score + intercept): Platt scaling, by Newton steps.

    A trace of ridge regularisation keeps both finite where scores separate the classes.
    """
    inputs = np.column_stack([score, np.ones_like(score)])
    found = np.array([1.0, 0.0])
    loss = _loss(inputs @ found, positive)
    for _ in range(_STEPS):
        probability = sigmoid(inputs @ found)
        slope = inputs.T @ (probability - positive) + _RIDGE * found
        curve = inputs.T @ (inputs * (probability * (1 - probability))[:, None]) + _RIDGE * np.eye(2)
        step = np.linalg.solve(curve, slope)
        # Halved until it helps: far from the optimum a whole Newton step may overshoot.
        while (new := _loss(inputs @ (found - step), positive)) > loss and np.abs(step).max() > _ENOUGH:
            step /= 2
        if new >= loss - _ENOUGH:
            break
        found, loss = found - step, new
    return float(found[0]), float(found[1])


def best_threshold(probability: Float64, positive: Bools) -> float:
    """The threshold with the most right answers, halfway between two probabilities; of equals that nearest 1/2."""
    order = np.argsort(probability, kind="stable")
    ordered, liked = probability[order], positive[order]
    # Right answers if the first i are said to be negative, for i in 0..n.
    right = np.concatenate([[0], np.cumsum(~liked)]) + liked.sum() - np.concatenate([[0], np.cumsum(liked)])
    between = np.concatenate([[0.0], (ordered[:-1] + ordered[1:]) / 2, [1.0]])
    # A cut between two equal probabilities is none.
    possible = np.concatenate([[True], ordered[:-1] < ordered[1:], [True]])
    best = possible & (right == right[possible].max())
    return float(between[best][np.argmin(np.abs(between[best] - 0.5))])


def _loss(x: Float64, positive: Bools) -> float:
    """Mean log-loss of sigmoid(x)."""
    return float(np.mean(np.logaddexp(0, np.where(positive, -x, x))))
