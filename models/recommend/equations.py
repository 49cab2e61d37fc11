"""The normal equations of ALS for one user: what a rating contributes, by the engine and objective of a version.

With item factors V (n, f), a user's vector x solves

    (G + ridge I + sum w_i v_i v_i^T) x = sum t_i v_i            Hu, Koren & Volinsky (ICDM 2008), eq. 4

| engine, objective | G | ridge | w_i | t_i |
|---|---|---|---|---|
| native, implicit | V^T V | regularization | alpha s_i - 1 | alpha s_i |
| spark, implicit | V^T V | m regularization | alpha s_i | 1 + alpha s_i |
| any, explicit | 0 | m regularization | 1 | r_i |

m is the number of the user's ratings r_i; s_i is 1 with confidence "ones" and r_i with confidence "ratings".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, cast, get_args

import numpy as np
import numpy.typing as npt

from models.errors import ModelRefused
from models.recommend.ratings import Float32

Float64 = npt.NDArray[np.float64]
Engine = Literal["native", "spark"]
Objective = Literal["implicit", "explicit"]
Confidence = Literal["ones", "ratings"]


class Terms(NamedTuple):
    """What m ratings contribute: `weight` and `target` float32 (m,), and the ridge of this user."""

    weight: Float32
    target: Float32
    ridge: float


@dataclass(frozen=True, slots=True)
class Equations:
    """Which row of the table above, with its numbers."""

    engine: Engine
    objective: Objective
    confidence: Confidence
    regularization: float
    alpha: float

    @classmethod
    def of(cls, parameters: Mapping[str, int | float | str]) -> Self:
        """The equations that a manifest's parameters name. Raises ModelRefused, saying which parameter is wrong."""
        return cls(
            engine=cast(Engine, _choice(parameters, "engine", get_args(Engine))),
            objective=cast(Objective, _choice(parameters, "objective", get_args(Objective))),
            confidence=cast(Confidence, _choice(parameters, "confidence", get_args(Confidence))),
            regularization=_positive(parameters, "regularization"),
            alpha=_positive(parameters, "alpha"),
        )

    def terms(self, ratings: Float32) -> Terms:
        """The terms of ratings (float32, (m,), finite and above 0)."""
        if self.objective == "explicit":
            return Terms(np.ones_like(ratings), ratings, self.regularization * max(len(ratings), 1))
        strength = np.ones_like(ratings) if self.confidence == "ones" else ratings
        confidence = (self.alpha * strength).astype(np.float32)
        if self.engine == "native":
            return Terms(confidence - 1, confidence, self.regularization)
        return Terms(confidence, confidence + 1, self.regularization * max(len(ratings), 1))

    def gram(self, factors: Float32) -> Float64:
        """G of item factors (float32, (n, f)): float64, (f, f)."""
        f = factors.shape[1]
        if self.objective == "explicit":
            return np.zeros((f, f))
        gram = np.zeros((f, f))
        for start in range(0, len(factors), _GRAM_ROWS):  # in parts: a float64 copy of all would double the memory
            part = factors[start : start + _GRAM_ROWS].astype(np.float64)
            gram += part.T @ part
        return gram


_GRAM_ROWS = 65_536


def _choice(parameters: Mapping[str, int | float | str], name: str, choices: tuple[str, ...]) -> str:
    value = parameters.get(name)
    if value not in choices:
        raise ModelRefused(f"parameter {name}: expected one of {', '.join(choices)}, got {value!r}")
    return str(value)


def _positive(parameters: Mapping[str, int | float | str], name: str) -> float:
    value = parameters.get(name)
    if isinstance(value, str) or value is None or not 0 < value < float("inf"):
        raise ModelRefused(f"parameter {name}: expected a number above 0, got {value!r}")
    return float(value)
