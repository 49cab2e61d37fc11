"""Fitting a factorization machine: once to learn when to stop and how to calibrate, then again on all ratings."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from models.errors import BadInput
from models.recommend.metrics import accuracy, auc, f1, log_loss
from models.recommend.ratings import Ratings
from training.recommend.fm.calibration import best_threshold, calibrate
from training.recommend.fm.columns import Columns, Features, columns_of, places_in
from training.recommend.fm.model import Float64, FmModel, FmOptions, sigmoid
from training.recommend.fm.network import Machines

Progress = Callable[[str, int], None]
Bools = npt.NDArray[np.bool_]

_STEPS_PER_EPOCH = 100
_LEAST_BATCH = 1024
_PROGRESS = 1e-5


@dataclass(frozen=True, slots=True)
class FmFit:
    """A fitted model, how it did on the validation part, and the machines themselves, for checks."""

    model: FmModel
    epochs: int
    validation: dict[str, float]
    """accuracy, f1, log_loss, auc, rows: of the machines that did not see the validation part."""
    fit_seconds: float
    machines: Machines


def fit_fm(
    train: Ratings,
    options: FmOptions,
    *,
    user_features: Features | None = None,
    item_features: Features | None = None,
    device: str = "auto",
    progress: Progress = lambda stage, epoch: None,
) -> FmFit:
    """A machine fitted on `train` alone.

    A validation part of `train` is set aside; machines are trained on the rest until their log-loss there stops
    falling. That fixes epochs, calibration and threshold, with which new machines are trained on all of `train`.
    `device`: "cpu", "cuda", or "auto" for a GPU where there is one. Equal input and seed give equal models on one
    machine's CPU; on a GPU up to the order of sums. `progress` is called after each epoch with the stage ("validation"
    or "all") and the number of epochs done.
    Raises BadInput if there are too few ratings, or all or none of them say that the user likes the item.
    """
    begun = time.monotonic()
    where = _device(device)
    columns = columns_of(train, user_features, item_features)
    rows = _Rows.of(train, columns, options, where)
    held_out = validation_rows(rows.user.cpu().numpy(), options.validation, options.seed)
    positive = rows.positive[held_out]
    if positive.all() or not positive.any() or held_out.all():
        raise BadInput(
            f"factorization machine: expected ratings below and from {options.liked_from:g} on in a validation part "
            f"of {options.validation:g} of {len(train):,} ratings, got {int(positive.sum())} of {len(positive)}"
        )
    stopped = _stopped(columns, rows, held_out, options, where, progress)
    machines = Machines(columns, options, rows.start(options), where)
    steps = _Training(machines, rows, options)
    for epoch in range(stopped.epochs):
        steps.epoch()
        progress("all", epoch + 1)
    machines.forget(columns)
    vectors = machines.folded()
    if not all(np.isfinite(part).all() for part in vectors):
        raise BadInput(f"training gave factors that are not finite, with {options}: use a smaller learning rate")
    probability = sigmoid(stopped.slope * stopped.score + stopped.intercept)
    threshold = best_threshold(probability, positive)
    model = FmModel(
        columns.users,
        columns.items,
        *vectors,
        slope=stopped.slope,
        intercept=stopped.intercept,
        threshold=threshold,
        low=rows.low,
        high=rows.high,
        options=options,
    )
    validation = {
        "accuracy": accuracy(positive, probability >= threshold),
        "f1": f1(positive, probability >= threshold),
        "log_loss": log_loss(positive, probability),
        "auc": auc(positive, probability),
        "rows": float(len(positive)),
    }
    return FmFit(model, stopped.epochs, validation, time.monotonic() - begun, machines)


def validation_rows(user: npt.NDArray[np.integer], share: float, seed: int) -> Bools:
    """About `share` of the rows, chosen by `seed`: equally many of each user, but at most a third of a user's own.

    A model answers each user alike, however many ratings taught it; a share of all rows would judge it by the few who
    rated most.
    """
    counts = np.bincount(user)
    each = max(1, round(share * len(user) / max(1, int((counts > 0).sum()))))
    draw = np.random.default_rng(seed).random(len(user))
    order = np.lexsort((draw, user))
    rank = np.empty(len(user), dtype=np.int64)
    rank[order] = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen: Bools = rank < np.minimum(each, counts // 3)[user]
    return chosen


@dataclass(frozen=True, slots=True)
class _Rows:
    """Training ratings on the device: places, (n,), targets, float32, (n,), and whether each is a like."""

    user: torch.Tensor
    item: torch.Tensor
    target: torch.Tensor
    positive: Bools
    low: float
    high: float

    @classmethod
    def of(cls, train: Ratings, columns: Columns, options: FmOptions, device: torch.device) -> "_Rows":
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
        tensors = (torch.from_numpy(array).to(device) for array in (user, item, target.astype(np.float32)))
        return cls(*tensors, positive=positive, low=low, high=high)

    def part(self, chosen: Bools) -> "_Rows":
        index = torch.from_numpy(np.flatnonzero(chosen)).to(self.user.device)
        return _Rows(
            self.user[index], self.item[index], self.target[index], self.positive[chosen], self.low, self.high
        )

    def start(self, options: FmOptions) -> float:
        """The score that predicts the mean target."""
        mean = float(self.target.mean())
        if options.objective == "regression":
            return mean
        mean = min(max(mean, 1e-3), 1 - 1e-3)
        return math.log(mean / (1 - mean))


class _Training:
    """Adam over all parameters; each member goes through the ratings in an order of its own."""

    def __init__(self, machines: Machines, rows: _Rows, options: FmOptions) -> None:
        self._machines, self._rows, self._options = machines, rows, options
        self._adam = torch.optim.Adam([machines.table, machines.offset], lr=options.learning_rate, fused=True)
        # Another stream of numbers than the one that the factors were drawn by.
        self._order = torch.Generator().manual_seed(options.seed + 2**32)
        n = len(rows.target)
        self._batch = options.batch or max(_LEAST_BATCH, -(-n // _STEPS_PER_EPOCH))

    def epoch(self) -> None:
        """Every rating once."""
        rows = self._rows
        shape = (self._options.members, len(rows.target))
        order = torch.argsort(torch.rand(shape, generator=self._order), dim=1).to(rows.target.device)
        for index in order.split(self._batch, dim=1):
            score, squares = self._machines.score(rows.user[index], rows.item[index])
            target = rows.target[index]
            if self._options.objective == "regression":
                losses = functional.mse_loss(score, target, reduction="none")
            else:
                losses = functional.binary_cross_entropy_with_logits(score, target, reduction="none")
            # Members do not share parameters: the sum of their means has the gradients of each.
            loss = (losses + self._options.regularization * squares).mean(1).sum()
            self._adam.zero_grad(set_to_none=False)
            loss.backward()
            self._adam.step()


@dataclass(frozen=True, slots=True)
class _Stopped:
    """What the validation part says: epochs, calibration, and its own scores at that point."""

    epochs: int
    slope: float
    intercept: float
    score: Float64


def _stopped(
    columns: Columns, rows: _Rows, held_out: Bools, options: FmOptions, device: torch.device, progress: Progress
) -> _Stopped:
    seen, unseen = rows.part(~held_out), rows.part(held_out)
    machines = Machines(columns, options, seen.start(options), device)
    training = _Training(machines, seen, options)
    best: _Stopped | None = None
    least = math.inf
    for epoch in range(1, options.epochs + 1):
        training.epoch()
        progress("validation", epoch)
        score = machines.mean_score(unseen.user, unseen.item).cpu().numpy().astype(np.float64)
        if not np.isfinite(score).all():
            break
        slope, intercept = calibrate(score, unseen.positive)
        loss = log_loss(unseen.positive, sigmoid(slope * score + intercept))
        if loss < least - _PROGRESS:
            least, best = loss, _Stopped(epoch, slope, intercept, score)
        elif best is not None and epoch - best.epochs >= options.patience:
            break
    if best is None:
        raise BadInput(f"training gave scores that are not finite, with {options}: use a smaller learning rate")
    return best


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise BadInput(f"device: expected cpu, cuda or auto, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("device: cuda was asked for, but PyTorch finds no GPU; use --device cpu")
    return torch.device(name)
