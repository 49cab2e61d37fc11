"""Whether a candidate may replace the live version: by what each would serve, on the same held-out ratings."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
import numpy as np

from models.errors import BadInput, NotFound
from models.inference.foldin import FoldIn
from models.manifest import Manifest
from models.recommend.bundle import AlsBundle, decode_bundle
from models.recommend.equations import Equations
from models.recommend.ratings import Float32, Int64, Ratings
from models.registry import Registry
from training.recommend.grouping import evenly, grouped
from training.recommend.pairs import trained_on
from training.recommend.ranking import Scorer, rank, ranking_metrics
from training.recommend.splits import Bools, Split

log = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")

# More users change the figures in the third digit, and take minutes.
_MOST_USERS: Final = 5_000


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Versions are compared by a metric of lists of `k` items. More is better; less by `tolerance` is no worse."""

    metric: str = "ndcg_at_k"
    k: int = 10
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate may go live, and why, in a sentence."""

    passed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Served:
    """A registered version as functions serve it."""

    manifest: Manifest
    bundle: AlsBundle

    @classmethod
    def load(cls, registry: Registry, version: str) -> "Served":
        """The version, all its checks done. Raises ModelRefused or NotFound."""
        manifest = registry.manifest(version)
        return cls(manifest, decode_bundle(manifest, lambda name: registry.file(manifest, name)))

    def fold(self) -> FoldIn:
        """What turns ratings into user vectors."""
        return FoldIn(self.bundle.foldin, self.bundle.factors, Equations.of(self.manifest.parameters))


def judge(
    rule: Rule,
    candidate: float,
    baseline: float,
    versus: tuple[float, float] | None,
    *,
    baseline_name: str = "popularity",
) -> Verdict:
    """Compare the candidate's metric with the baseline's, which it must beat; `versus`: its own and the live one's.

    Those two are on ratings that neither was trained on; None: there is no live version, or none that can be served.
    """
    figures = f"{rule.metric} {candidate:.4f}, {baseline_name} {baseline:.4f}"
    if not math.isfinite(candidate):
        return Verdict(False, f"{rule.metric} is {candidate}: the fit has failed")
    if not candidate > baseline:
        return Verdict(False, f"{figures}: it must beat {baseline_name}")
    if versus is None:
        return Verdict(True, f"{figures}; there is no live version to compare with")
    own, live = versus
    figures += f"; on ratings that neither version was trained on {own:.4f}, live {live:.4f}"
    if not own >= live - rule.tolerance:
        return Verdict(False, f"{figures}: it is worse than the live version")
    return Verdict(True, figures)


def metric_of(rule: Rule, scores: Scorer, split: Split) -> float:
    """The rule's metric of a scorer, over the users with held-out ratings."""
    return ranking_metrics(rank(scores, split, min(rule.k, len(split.train.items))), split)[rule.metric]


def judged_users(split: Split) -> Split:
    """The split with the held-out ratings of at most 5,000 users, evenly chosen in id order."""
    users = np.unique(split.test.user)
    if len(users) <= _MOST_USERS:
        return split
    chosen = evenly(users, _MOST_USERS)
    return Split(split.train, split.test.rows(np.isin(split.test.user, chosen)))


def versus_live(
    registry: Registry,
    version: str | None,
    test: Ratings,
    load: Callable[[Registry, str], Loaded],
    compared: Callable[[Loaded, Bools], tuple[float, float]],
) -> tuple[float, float] | None:
    """The metric of the candidate and of live version `version`, on ratings of `test` that neither was trained on.

    `compared` gives both, of what `load` gives of the live version, and of which rows (bool, (n,)) it has seen. None
    if there is no live version, or it cannot be loaded, which is logged: it must not keep a sound one out. Raises
    BadInput if it has seen all rows.
    """
    if version is None:
        return None
    try:
        live = load(registry, version)
        seen = trained_on(registry, registry.manifest(version), test)
    except (BadInput, NotFound) as error:
        log.error("live version %s cannot be compared with: %s", version, error)
        return None
    if seen.all():
        raise BadInput(f"live version {version} was trained on every held-out rating: nothing is left to compare on")
    return compared(live, seen)


def served_versus(rule: Rule, candidate: Served, live: Served, split: Split, seen: Bools) -> tuple[float, float]:
    """The rule's metric of both versions, as they are served.

    Held-out ratings that were `seen` go to the part that is known of the users, for both.
    """
    fair = _known_too(split, seen) if seen.any() else split
    own, other = (metric_of(rule, served_scorer(each, fair.train), fair) for each in (candidate, live))
    return own, other


def _known_too(split: Split, seen: Bools) -> Split:
    train, test = split.train, split.test
    known = Ratings(
        train.users,
        train.items,
        *(
            np.concatenate([getattr(train, name), getattr(test, name)[seen]])
            for name in ("user", "item", "value", "time_s")
        ),
    )
    return Split(known, test.rows(~seen))


def served_scorer(served: Served, train: Ratings) -> Scorer:
    """Scores as the version would serve users who have rated `train`: vectors folded in, popularity for strangers.

    Items that the version does not know score -inf: it can never recommend them.
    """
    fold, catalogue, factors = served.fold(), served.bundle.catalogue, served.bundle.factors
    place_of = {item: place for place, item in enumerate(catalogue.items)}
    own = np.array([place_of.get(item, -1) for item in train.items], dtype=np.int64)
    known = np.flatnonzero(own >= 0)
    by_user = grouped(train.user, len(train.users))
    popular = catalogue.ratings.astype(np.float32)

    def of_user(user: int) -> Float32:
        rows = by_user.rows(user)
        places, ratings = own[train.item[rows]], train.value[rows]
        if not (places >= 0).any():
            return popular
        vector = fold.user(places[places >= 0], ratings[places >= 0])
        scores: Float32 = factors @ vector
        return scores

    def scores(users: Int64) -> Float32:
        table = np.full((len(users), len(own)), -np.inf, dtype=np.float32)
        for row, user in enumerate(users.tolist()):
            table[row, known] = of_user(user)[own[known]]
        return table

    return scores
