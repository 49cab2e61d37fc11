"""What a factorization machine is fitted with, and the fitted machine, folded into one vector per user and item."""

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from models.recommend.ratings import Float32, Ratings
from training.recommend.fm.columns import places_in

Objective = Literal["classification", "regression"]
Targets = Literal["soft", "hard"]
Places = npt.NDArray[np.integer]
Float64 = npt.NDArray[np.float64]


class FmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of a fit. The defaults were chosen on parts of MovieLens 100k's `ua.base`."""

    objective: Objective = "classification"
    """What the machine predicts: whether a user likes an item, or the rating."""
    targets: Targets = "soft"
    """Of classification: "soft" learns from where on its scale a rating lies (0 lowest, 1 highest), which holds more
    than "hard", 1 or 0 for liked or not."""
    liked_from: float = 4.0
    """The lowest rating that says that a user likes an item."""
    factors: int = 32
    members: int = 4
    """How many machines, which differ by their seed, are trained together; the mean of their scores counts."""
    learning_rate: float = 0.005
    regularization: float = 0.01
    """Weight of the squared factors of a rating's columns, beside its loss."""
    batch: int = 0
    """Ratings per step; 0: about a hundred steps an epoch, and at least 1,024 ratings."""
    epochs: int = 50
    """At most; validation says when to stop."""
    patience: int = 3
    """Epochs without progress after which to stop."""
    validation: float = 0.1
    """Share of the training ratings that says when to stop, how scores become probabilities, and the threshold."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("factors", 1, 1024),
            ("members", 1, 64),
            ("batch", 0, 2**24),
            ("epochs", 1, 1000),
            ("patience", 1, 1000),
            ("seed", 0, 2**31 - 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}: expected {low}..{high}, got {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate: expected a number above 0, got {self.learning_rate}")
        if not 0 <= self.regularization < float("inf"):
            raise ValueError(f"regularization: expected 0 or more, got {self.regularization}")
        if not 0 < self.validation <= 0.5:
            raise ValueError(f"validation: expected a share above 0 and at most 0.5, got {self.validation}")


@dataclass(frozen=True, slots=True)
class FmModel:
    """A fitted machine. `users` and `items` are the ids it knows, in the order of `in_id_order`.

    A machine's score is the sum of the weights of all its columns and of the products of all pairs of factors. As no
    column belongs to both sides, that is one vector and one bias per user and per item: `score = offset + user bias +
    item bias + user vector . item vector`. Mean of several machines: their vectors side by side.

    `user_vectors`: float32, (n_users + 1, f); `item_vectors`: float32, (n_items + 1, f); `user_biases` and
    `item_biases` float32, with as many rows. The last row is all zeros, so that the place -1 (UNKNOWN) stands for an
    id that is not known. probability = sigmoid(slope * score + intercept).
    """

    users: list[str]
    items: list[str]
    user_vectors: Float32
    user_biases: Float32
    item_vectors: Float32
    item_biases: Float32
    offset: float
    slope: float
    intercept: float
    threshold: float
    """The probability from which on a user is said to like an item: most answers right on the validation part."""
    low: float
    high: float
    """The scale of the training ratings."""
    options: FmOptions

    def places(self, ratings: Ratings) -> tuple[Places, Places]:
        """Places in this model of the users and items of other ratings, row by row; UNKNOWN where it has none."""
        return places_in(self.users, ratings.users)[ratings.user], places_in(self.items, ratings.items)[ratings.item]

    def score(self, user: Places, item: Places) -> Float64:
        """Scores of n (user, item) places, each -1 or more: float64, (n,)."""
        pairs: Float32 = np.einsum("nf,nf->n", self.user_vectors[user], self.item_vectors[item])
        return pairs.astype(np.float64) + self.user_biases[user] + self.item_biases[item] + self.offset

    def probability(self, user: Places, item: Places) -> Float64:
        """Probabilities that the user likes the item: float64, (n,), 0..1."""
        return sigmoid(self.slope * self.score(user, item) + self.intercept)

    def rating(self, user: Places, item: Places) -> Float64 | None:
        """Predicted ratings, float64, (n,), on the scale; None if the machine was trained on liked or not alone."""
        score = self.score(user, item)
        if self.options.objective == "regression":
            return np.clip(score, self.low, self.high)
        if self.options.targets == "soft":
            return self.low + (self.high - self.low) * sigmoid(score)
        return None

    def parameters(self) -> dict[str, int | float | str]:
        """Options, calibration and threshold under plain names, as a manifest holds them."""
        calibrated = {"slope": self.slope, "intercept": self.intercept, "threshold": self.threshold}
        return {"engine": "torch", **msgspec.structs.asdict(self.options), **calibrated}


def sigmoid(x: Float64) -> Float64:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    result: Float64 = np.where(x >= 0, 1, small) / (1 + small)
    return result
