"""Training ratings as tensors, and the part of them that is set aside for validation."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.errors import BadInput
from models.recommend.ratings import Ratings
from training.recommend.fm.columns import Columns, places_in
from training.recommend.fm.model import FmOptions
from training.recommend.grouping import ranks
from training.recommend.splits import Bools


@dataclass(frozen=True, slots=True)
class Rows:
    """n ratings on the device. `user`, `item`: int64 (n,), places in the columns. `target`: float32 (n,), what the
    machine learns. `positive`: bool (n,), whether each is a like. `low`..`high`: the scale of all training ratings.
    """

    user: torch.Tensor
    item: torch.Tensor
    target: torch.Tensor
    positive: Bools
    low: float
    high: float

    @classmethod
    def of(cls, train: Ratings, columns: Columns, options: FmOptions, device: torch.device) -> "Rows":
        """All of `train`. Raises BadInput if it is empty."""
        if not len(train):
            raise BadInput("factorization machine: expected ratings, got none")
        low, high = float(train.value.min()), float(train.value.max())
        positive = train.value >= options.liked_from
        if options.objective == "regression":
            target = train.value
        elif options.targets == "hard" or low == high:
            target = positive.astype(np.float32)
        else:
            target = (train.value - low) / (high - low)
        user = places_in(columns.users, train.users)[train.user]
        item = places_in(columns.items, train.items)[train.item]
        places = torch.from_numpy(user).to(device), torch.from_numpy(item).to(device)
        return cls(*places, torch.from_numpy(target.astype(np.float32)).to(device), positive, low, high)

    def part(self, chosen: Bools) -> "Rows":
        """The chosen rows, on the same scale."""
        index = torch.from_numpy(np.flatnonzero(chosen)).to(self.user.device)
        return Rows(
            self.user[index], self.item[index], self.target[index], self.positive[chosen], self.low, self.high
        )

    def start(self, options: FmOptions) -> float:
        """The score that predicts the mean target."""
        mean = float(self.target.mean())
        if options.objective == "regression":
            return mean
        mean = min(max(mean, 1e-3), 1 - 1e-3)
        return math.log(mean / (1 - mean))


def validation_rows(user: npt.NDArray[np.integer], share: float, seed: int) -> Bools:
    """About `share` of the rows, chosen by `seed`: equally many of each user, but at most a third of a user's own.

    A model answers each user alike, however many ratings taught it; a share of all rows would judge it by the few who
    rated most. `user`: places, (n,).
    """
    counts = np.bincount(user)
    each = max(1, round(share * len(user) / max(1, int((counts > 0).sum()))))
    draw = np.random.default_rng(seed).random(len(user))
    chosen: Bools = ranks(user, [draw]) < np.minimum(each, counts // 3)[user]
    return chosen
