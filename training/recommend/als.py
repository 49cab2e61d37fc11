"""What an ALS fit is asked for and what it gives, whichever engine does it.

The default is the implicit objective of Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback
Datasets" (ICDM 2008): every pair without a rating is a weak "no", so that all items can be ranked. The explicit
objective predicts ratings (Zhou et al., "Large-scale Parallel Collaborative Filtering for the Netflix Prize", 2008)
and ranks badly, since it learns nothing from what was not rated.

A user vector x, given item factors V (one row per item) and a user's n ratings r_i of items v_i, solves

    (G + ridge I + sum w_i v_i v_i^T) x = sum t_i v_i

| engine, objective | G | ridge | w_i | t_i |
|---|---|---|---|---|
| native, implicit | V^T V over all items | regularization | alpha s_i - 1 | alpha s_i |
| spark, implicit | V^T V over all items | n regularization | alpha s_i | 1 + alpha s_i |
| any, explicit | 0 | n regularization | 1 | r_i |

where s_i is 1 with confidence "ones" and r_i with confidence "ratings".
"""

from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import BadInput
from models.recommend.ratings import Float32, Ratings

Engine = Literal["native", "spark"]
Objective = Literal["implicit", "explicit"]
Confidence = Literal["ones", "ratings"]

_MAX_FACTORS = 1024


class AlsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of a fit. The engines scale `regularization` and `alpha` differently: see the table above."""

    objective: Objective = "implicit"
    factors: int = 100
    regularization: float | None = None
    """None: suited to the ratings, as `suited` does."""
    alpha: float = 3.0
    """How much more a rated pair counts than one without a rating; not used by the explicit objective."""
    confidence: Confidence = "ones"
    """Whether a rated pair's weight grows with the rating, or is the same for all."""
    iterations: int = 15
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.factors <= _MAX_FACTORS:
            raise ValueError(f"factors: expected 1..{_MAX_FACTORS}, got {self.factors}")
        if not 1 <= self.iterations <= 1000:
            raise ValueError(f"iterations: expected 1..1000, got {self.iterations}")
        for name in ("regularization", "alpha"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name}: expected a number above 0, got {value}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed: expected 0..{2**31 - 1}, got {self.seed}")


# The implicit ones: chosen by cross-validation inside training data, as docs/recommendations.md describes. The
# explicit ones are the benchmark's, so that errors can be compared with its table; `penstock sweep` finds better.
_DEFAULTS: Final[dict[tuple[Engine, Objective], AlsOptions]] = {
    ("native", "implicit"): AlsOptions(),
    ("native", "explicit"): AlsOptions(objective="explicit", factors=10, regularization=0.05, iterations=20),
    ("spark", "implicit"): AlsOptions(factors=32, regularization=0.15, alpha=1.0),
    ("spark", "explicit"): AlsOptions(objective="explicit", factors=10, regularization=0.05, iterations=20),
}


_NOISES: Final = 1.9


def suited(options: AlsOptions, train: Ratings) -> AlsOptions:
    """`options` for the native implicit fit of `train`: with the regularization that suits them, if none is given.

    Regularization on both factors shrinks every singular value of the matrix of preferences by a constant (Srebro,
    Rennie & Jaakkola, "Maximum-Margin Matrix Factorization", 2004). It should take away those that noise alone has:
    up to sqrt(ratings / users) + sqrt(ratings / items) for a random matrix of ones (Latala, 2005). The multiple of
    that, 1.9, gives MovieLens 100k about the number that cross-validation chose for it. It was then checked on
    held-out parts of generated sets, of hundreds of ratings to hundreds of thousands: that number itself makes the
    smallest as flat as popularity, and this rule does not.
    """
    if options.regularization is not None:
        return options
    if options.objective == "explicit":
        raise ValueError("the explicit objective needs a regularization: there is no rule for it, only a default")
    return msgspec.structs.replace(options, regularization=round(_NOISES * noise(train), 3))


def noise(train: Ratings) -> float:
    """About the largest singular value of a matrix with as many ones as `train` has, at random places."""
    users, items = len(np.unique(train.user)), len(np.unique(train.item))
    return float(np.sqrt(len(train) / users) + np.sqrt(len(train) / items))


def check_trainable(train: Ratings, options: AlsOptions) -> None:
    """Raises BadInput if there is nothing to fit, or a rating cannot be used as a confidence."""
    if not len(train):
        raise BadInput("training: expected ratings, got none")
    if options.objective == "implicit" and options.confidence == "ratings" and not (train.value > 0).all():
        raise BadInput(f"confidence 'ratings' needs ratings above 0, got {train.value.min():g}; use 'ones'")


def check_distinct(train: Ratings, pairs: int) -> None:
    """Raises BadInput unless there are as many distinct (user, item) pairs as ratings."""
    if pairs != len(train):
        raise BadInput(f"training: {len(train) - pairs} of {len(train)} ratings repeat a (user, item) pair")


def check_factors(factors: Float32, options: AlsOptions) -> None:
    """Raises BadInput if a fit with these options has gone wrong."""
    if not np.isfinite(factors).all():
        raise BadInput(f"training gave factors that are not finite, with {options}: use a larger regularization")


def default_options(engine: Engine, objective: Objective = "implicit") -> AlsOptions:
    """The options of a fit for which none are given."""
    return _DEFAULTS[engine, objective]


@dataclass(frozen=True, slots=True)
class AlsModel:
    """Factors of every user and item of the `Ratings` it was fitted on, by place.

    `user_factors`: float32, (n_users, factors); `item_factors`: float32, (n_items, factors); all finite. A user or
    item without a training row has a vector of zeros: leave it out when ranking, zero beats negative scores.
    """

    user_factors: Float32
    item_factors: Float32
    options: AlsOptions
    """Its regularization is the number that was used."""
    engine: Engine
    suited: bool = False
    """Whether that number was found by `suited`, so that other ratings would give another."""

    def predict(self, user: npt.NDArray[np.int32], item: npt.NDArray[np.int32]) -> Float32:
        """Scores of n (user, item) places: float32, (n,). Ratings, if the objective is explicit."""
        scores: Float32 = np.einsum("nf,nf->n", self.user_factors[user], self.item_factors[item])
        return scores

    def parameters(self) -> dict[str, int | float | str]:
        """Engine and options under plain names, as a manifest holds them."""
        chosen_by = "rule" if self.suited else "choice"
        return {"engine": self.engine, **msgspec.structs.asdict(self.options), "regularization_by": chosen_by}
