"""A factorization machine trained on one file and measured on another, over several seeds."""

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from models.recommend import metrics
from models.recommend.ratings import Ratings
from training.recommend.checks import check_disjoint
from training.recommend.fm.columns import Features
from training.recommend.fm.export import build_fm, check_parity
from training.recommend.fm.fit import FmFit, classified, fit_fm
from training.recommend.fm.model import FmModel, FmOptions

# On MovieLens' own pair ua.base and ua.test every published or measured model stays below this: what is above has
# seen the answers.
LEAK_ABOVE: Final = 0.73
_MOVIELENS_PAIR: Final = (90_570, 9_430)


class SeedReport(msgspec.Struct, frozen=True, kw_only=True):
    """One seed: what the fit chose on its validation part, and how it did on the test part."""

    seed: int
    epochs: int
    threshold: float
    slope: float
    intercept: float
    fit_seconds: float
    parity: float
    """Largest difference of a probability between the ONNX graph and PyTorch."""
    validation: dict[str, float]
    test: dict[str, float]


class FmReport(msgspec.Struct, frozen=True, kw_only=True):
    """Means over the seeds, each seed, and what the test part is; the form of `penstock train fm --report`."""

    accuracy: float
    f1: float
    log_loss: float
    auc: float
    rmse: float | None
    """None if the machine was trained on liked or not alone."""
    mae: float | None
    fit_seconds: float
    train_rows: int
    test_rows: int
    positive_share: float
    """Of the test part: what is right if the answer is always yes."""
    unknown: int
    """Test rows whose user or item no training rating has."""
    options: FmOptions
    seeds: list[SeedReport]
    warnings: list[str]


def run_fm(
    train: Ratings,
    test: Ratings,
    options: FmOptions,
    seeds: int,
    *,
    user_features: Features | None = None,
    item_features: Features | None = None,
    device: str = "auto",
    progress: Callable[[int, str, int], None] = lambda seed, stage, epoch: None,
) -> tuple[FmReport, list[FmFit]]:
    """Machines with the seeds `options.seed`, + 1, ... fitted on `train`, and their means on `test`.

    No fit sees `test`: it is used after the last one. `progress` gets the number of seeds done before, and what
    `fit_fm` tells. Raises BadInput as `fit_fm` does, and if a test rating is among the training ratings.
    """
    check_disjoint(train, test)
    fits = []
    for number in range(seeds):
        each = msgspec.structs.replace(options, seed=options.seed + number)
        fits.append(
            fit_fm(
                train,
                each,
                user_features=user_features,
                item_features=item_features,
                device=device,
                progress=lambda stage, epoch, number=number: progress(number, stage, epoch),  # type: ignore[misc]  # mypy cannot type such a lambda
            )
        )
    reports = [_seed_report(fit, test) for fit in fits]
    return _report(train, test, options, reports), fits


def measure(model: FmModel, test: Ratings) -> dict[str, float]:
    """accuracy, f1, log_loss and auc on `test`, at the model's own threshold; rmse and mae if it predicts ratings."""
    user, item = model.places(test)
    probability = model.probability(user, item)
    positive = test.value >= model.options.liked_from
    found = classified(positive, probability, model.threshold)
    rating = model.rating(user, item)
    if rating is not None:
        found |= {"rmse": metrics.rmse(test.value, rating), "mae": metrics.mae(test.value, rating)}
    return found


def _seed_report(fit: FmFit, test: Ratings) -> SeedReport:
    model = fit.model
    return SeedReport(
        seed=model.options.seed,
        epochs=fit.epochs,
        threshold=model.threshold,
        slope=model.slope,
        intercept=model.intercept,
        fit_seconds=fit.fit_seconds,
        parity=check_parity(fit, build_fm(model)),
        validation=fit.validation,
        test=measure(model, test),
    )


def _report(train: Ratings, test: Ratings, options: FmOptions, seeds: list[SeedReport]) -> FmReport:
    def mean(name: str) -> float:
        return float(np.mean([seed.test[name] for seed in seeds]))

    known_users, known_items = set(_rated(train.users, train.user)), set(_rated(train.items, train.item))
    unknown_user = np.array([text not in known_users for text in test.users], dtype=np.bool_)
    unknown_item = np.array([text not in known_items for text in test.items], dtype=np.bool_)
    accuracy, positive_share = mean("accuracy"), float(np.mean(test.value >= options.liked_from))
    rated = "rmse" in seeds[0].test
    return FmReport(
        accuracy=accuracy,
        f1=mean("f1"),
        log_loss=mean("log_loss"),
        auc=mean("auc"),
        rmse=mean("rmse") if rated else None,
        mae=mean("mae") if rated else None,
        fit_seconds=float(np.mean([seed.fit_seconds for seed in seeds])),
        train_rows=len(train),
        test_rows=len(test),
        positive_share=positive_share,
        unknown=int((unknown_user[test.user] | unknown_item[test.item]).sum()),
        options=options,
        seeds=seeds,
        warnings=_warnings(train, test, accuracy, positive_share),
    )


def _warnings(train: Ratings, test: Ratings, accuracy: float, positive_share: float) -> list[str]:
    found = []
    if (len(train), len(test)) == _MOVIELENS_PAIR and accuracy >= LEAK_ABOVE:
        found.append(
            f"leak alarm: accuracy {accuracy:.4f} on MovieLens' ua or ub pair; models end at about .717 there, so "
            f"{LEAK_ABOVE} or more says that test ratings were seen in training"
        )
    if accuracy <= max(positive_share, 1 - positive_share):
        found.append(
            f"accuracy {accuracy:.4f} is not above {max(positive_share, 1 - positive_share):.4f}, that of one answer "
            "for all"
        )
    return found


def _rated(ids: list[str], place: "np.typing.NDArray[np.integer]") -> list[str]:
    return [ids[each] for each in np.unique(place)]
