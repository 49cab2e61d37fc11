"""Turns a trained ALS model into a registered version, if its graphs answer what the model answers."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.errors import BadInput, ModelRefused
from models.inference.foldin import FoldIn
from models.manifest import Manifest
from models.ports import Clock
from models.recommend.bundle import EXACT, FACTORS_FILE, KIND, AlsBundle, encode_bundle
from models.recommend.equations import Equations
from models.recommend.ratings import Ratings
from models.registry import Registry
from training.recommend.als import AlsModel
from training.recommend.export import TOPK_INPUTS, TOPK_OUTPUTS, foldin_graph, topk_graph
from training.recommend.grouping import evenly
from training.recommend.index import LARGE, with_index
from training.recommend.items import ItemInfo, catalogue_of
from training.recommend.pairs import PAIRS_FILE, encode_pairs
from training.recommend.parity import check_parity
from training.stamp import creator, stamped

USER_TOLERANCE: Final = 1e-3
"""Largest difference of a folded-in user vector from the trained one, as a share of the latter's length."""
_PROBES: Final = 64
_INDEX_PROBES: Final = 300
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trained:
    """A fit with what is known of it. `train` are the ratings it was fitted on, `metrics` those of held-out ones."""

    model: AlsModel
    train: Ratings
    items: Mapping[str, ItemInfo]
    metrics: Mapping[str, float]
    split: Mapping[str, int | float | str]
    """How the held-out ratings were chosen; part of the version's parameters."""


def register(registry: Registry, trained: Trained, clock: Clock, *, large: int = LARGE) -> Manifest:
    """Store a fit as a new version, which is not live yet. A catalogue of `large` items gets an approximate index.

    Raises ModelRefused if a graph does not answer what the model answers, BadInput if a metric is not finite.
    """
    check_finite(trained.metrics)
    bundle = bundle_of(trained)
    parameters = {**trained.model.parameters(), **trained.split, "search": EXACT}
    if len(bundle.catalogue) >= large:
        bundle, found = _indexed(bundle, trained)
        parameters |= found
    equations = Equations.of(parameters)
    parity = check_parity(bundle, equations)
    parity["user_error"] = user_error(bundle, equations, trained.model, trained.train)
    if not parity["user_error"] <= USER_TOLERANCE:
        raise ModelRefused(
            f"user_error is {parity['user_error']:.3g}, more than {USER_TOLERANCE:g}: folding a user's ratings in "
            "does not give the trained vector"
        )
    files = {**encode_bundle(bundle), PAIRS_FILE: encode_pairs(trained.train)}
    stamp = stamped(clock, files[FACTORS_FILE])
    manifest = Manifest(
        kind=KIND,
        model=registry.model,
        version=stamp.version,
        created_at=stamp.created_at,
        creator=creator(f"{trained.model.engine} ALS"),
        inputs=TOPK_INPUTS,
        outputs=TOPK_OUTPUTS,
        items=len(bundle.catalogue),
        metrics={**trained.metrics, **parity},
        parameters=parameters,
        data_fingerprint=fingerprint(trained.train),
    )
    return registry.publish(manifest, files)


def check_finite(metrics: Mapping[str, float]) -> None:
    """Raises BadInput, with their names, if metrics of a fit are not finite."""
    wrong = {name: value for name, value in metrics.items() if not np.isfinite(value)}
    if wrong:
        raise BadInput(f"metrics {wrong}: the fit has failed")


def bundle_of(trained: Trained) -> AlsBundle:
    """What the version holds: factors and facts of every item with a training rating."""
    catalogue = catalogue_of(trained.train.items, trained.items, trained.train)
    return AlsBundle(trained.model.item_factors, catalogue, topk_graph(), foldin_graph()).trained()


def _indexed(bundle: AlsBundle, trained: Trained) -> tuple[AlsBundle, dict[str, int | float | str]]:
    """The bundle with an index, measured with vectors of real users; without, where its library is not installed."""
    users = trained.model.user_factors[np.unique(trained.train.user)]
    try:
        return with_index(bundle, evenly(users, _INDEX_PROBES))
    except ImportError as error:
        log.warning("%d items are searched exactly: %s (pip install 'penstock[ann]')", len(bundle.catalogue), error)
        return bundle, {}


def user_error(bundle: AlsBundle, equations: Equations, model: AlsModel, train: Ratings) -> float:
    """Largest distance of a folded-in vector from the trained one, over the latter's length; of 64 users."""
    fold = FoldIn(bundle.foldin, bundle.factors, equations)
    place = np.cumsum(np.bincount(train.item, minlength=len(train.items)) > 0) - 1
    worst = 0.0
    for user in evenly(np.unique(train.user), _PROBES):
        rows = np.flatnonzero(train.user == user)
        expected = model.user_factors[user].astype(np.float64)
        found = fold.user(place[train.item[rows]].astype(np.int64), train.value[rows])
        length = float(np.linalg.norm(expected))
        distance = float(np.linalg.norm(found - expected))
        worst = max(worst, distance / length if length else distance)
    return worst


def fingerprint(ratings: Ratings) -> str:
    """sha256 (hex) over ids, ratings and times, whatever the order of rows."""
    order = np.lexsort((ratings.item, ratings.user))
    digest = hashlib.sha256()
    for ids in (ratings.users, ratings.items):
        digest.update("\n".join(ids).encode())
        digest.update(b"\0")
    for column in (ratings.user, ratings.item, ratings.value, ratings.time_s):
        digest.update(np.ascontiguousarray(column[order]).tobytes())
    return digest.hexdigest()
