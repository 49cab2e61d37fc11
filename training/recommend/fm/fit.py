"""Fitting a factorization machine: once to learn when to stop and how to calibrate, then again on all ratings."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from models.errors import BadInput
from models.recommend.metrics import accuracy, auc, f1, log_loss
from models.recommend.ratings import Ratings
from training.recommend.fm.calibration import best_threshold, calibrate
from training.recommend.fm.columns import Columns, Features, columns_of
from training.recommend.fm.model import Float64, FmModel, FmOptions, sigmoid
from training.recommend.fm.network import Machines
from training.recommend.fm.rows import Rows, validation_rows
from training.recommend.splits import Bools

Progress = Callable[[str, int], None]

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
    machine's CPU; on a GPU up to the order of sums. `progress` is called after each epoch with the stage
    ("validation" or "all") and the number of epochs done.
    Raises BadInput if there are too few ratings, or all or none of them say that the user likes the item.
    """
    begun = time.monotonic()
    with _half_the_cores():
        fitting = _Fitting(columns_of(train, user_features, item_features), options, _device(device), progress)
        rows = Rows.of(train, fitting.columns, options, fitting.device)
        held_out = validation_rows(rows.user.cpu().numpy(), options.validation, options.seed)
        positive = rows.positive[held_out]
        if positive.all() or not positive.any():
            raise BadInput(
                f"factorization machine: expected ratings below and from {options.liked_from:g} on in a validation "
                f"part of {options.validation:g} of {len(train):,} ratings, got {positive.sum()} of {len(positive)}"
            )
        stopped = fitting.stopped(rows.part(~held_out), rows.part(held_out))
        machines = fitting.trained(rows, stopped.epochs)
    probability = sigmoid(stopped.slope * stopped.score + stopped.intercept)
    threshold = best_threshold(probability, positive)
    model = FmModel(
        fitting.columns.users,
        fitting.columns.items,
        *machines.folded(),
        slope=stopped.slope,
        intercept=stopped.intercept,
        threshold=threshold,
        low=rows.low,
        high=rows.high,
        options=options,
    )
    validation = classified(positive, probability, threshold) | {"rows": float(len(positive))}
    return FmFit(model, stopped.epochs, validation, time.monotonic() - begun, machines)


@dataclass(frozen=True, slots=True)
class _Stopped:
    """What the validation part says: epochs, calibration, and its own scores at that point."""

    epochs: int
    slope: float
    intercept: float
    score: Float64


@dataclass(frozen=True, slots=True)
class _Fitting:
    columns: Columns
    options: FmOptions
    device: torch.device
    progress: Progress

    def stopped(self, seen: Rows, unseen: Rows) -> _Stopped:
        """Train on `seen` until the log-loss on `unseen` has not fallen for some epochs; the best epoch."""
        machines = Machines(self.columns, self.options, seen.start(self.options), self.device)
        training = _Training(machines, seen, self.options)
        best: _Stopped | None = None
        least = math.inf
        for epoch in range(1, self.options.epochs + 1):
            training.epoch()
            self.progress("validation", epoch)
            score = machines.mean_score(unseen.user, unseen.item).cpu().numpy().astype(np.float64)
            if not np.isfinite(score).all():
                break
            slope, intercept = calibrate(score, unseen.positive)
            loss = log_loss(unseen.positive, sigmoid(slope * score + intercept))
            if loss < least - _PROGRESS:
                least, best = loss, _Stopped(epoch, slope, intercept, score)
            elif best is not None and epoch - best.epochs >= self.options.patience:
                break
        if best is None:
            raise self._diverged()
        return best

    def trained(self, rows: Rows, epochs: int) -> Machines:
        """New machines, trained on `rows` for so many epochs."""
        machines = Machines(self.columns, self.options, rows.start(self.options), self.device)
        training = _Training(machines, rows, self.options)
        for epoch in range(1, epochs + 1):
            training.epoch()
            self.progress("all", epoch)
        machines.forget(self.columns)
        if not bool(torch.isfinite(machines.table).all()):
            raise self._diverged()
        return machines

    def _diverged(self) -> BadInput:
        return BadInput(
            f"training gave factors that are not finite, with {self.options}: use a smaller learning rate"
        )


class _Training:
    """Adam over all parameters; each member goes through the ratings in an order of its own."""

    def __init__(self, machines: Machines, rows: Rows, options: FmOptions) -> None:
        self._machines, self._rows, self._options = machines, rows, options
        self._adam = torch.optim.Adam([machines.table, machines.offset], lr=options.learning_rate, fused=True)
        # Another stream of numbers than the one that the factors were drawn by.
        self._order = torch.Generator().manual_seed(options.seed + 2**32)
        self._batch = options.batch or max(_LEAST_BATCH, -(-len(rows.target) // _STEPS_PER_EPOCH))

    def epoch(self) -> None:
        """Every rating once."""
        rows = self._rows
        shape = (self._options.members, len(rows.target))
        order = torch.argsort(torch.rand(shape, generator=self._order), dim=1).to(rows.target.device)
        for index in torch.split(order, self._batch, dim=1):
            score, squares = self._machines.score(rows.user[index], rows.item[index])
            target = rows.target[index]
            if self._options.objective == "regression":
                losses = functional.mse_loss(score, target, reduction="none")
            else:
                losses = functional.binary_cross_entropy_with_logits(score, target, reduction="none")
            # Members do not share parameters: the sum of their means has the gradients of each.
            loss = (losses + self._options.regularization * squares).mean(1).sum()
            self._adam.zero_grad(set_to_none=False)
            torch.autograd.backward(loss)
            self._adam.step()


def classified(positive: Bools, probability: Float64, threshold: float) -> dict[str, float]:
    """accuracy, f1, log_loss and auc of n answers: yes from `threshold` on, right where `positive` says so."""
    return {
        "accuracy": accuracy(positive, probability >= threshold),
        "f1": f1(positive, probability >= threshold),
        "log_loss": log_loss(positive, probability),
        "auc": auc(positive, probability),
    }


@contextmanager
def _half_the_cores() -> Iterator[None]:
    """Steps are short: where another process holds one core, the threads on the others wait for it at every step."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise BadInput(f"device: expected cpu, cuda or auto, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("device: cuda was asked for, but PyTorch finds no GPU; use --device cpu")
    return torch.device(name)
