"""A fitted factorization machine as a registered version, and promoting one that is not worse on the same ratings."""

from collections.abc import Mapping
from importlib.metadata import version as installed_version
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import BadInput, NotFound, Superseded
from models.inference.fm import Machine, load_machine
from models.manifest import Manifest, TensorSpec
from models.ports import Clock
from models.recommend import metrics
from models.recommend.catalogue import Catalogue
from models.recommend.fm_bundle import GRAPH_FILE, KIND, FmBundle, encode_fm
from models.recommend.ratings import Ratings
from models.registry import Registry
from training.recommend.fm.export import build_fm, check_parity
from training.recommend.fm.fit import FmFit
from training.recommend.gate import Rule, Verdict, judge, log
from training.recommend.items import ItemInfo
from training.recommend.pairs import PAIRS_FILE, encode_pairs, trained_on
from training.recommend.promote import Outcome
from training.recommend.register import fingerprint, version_of

INPUTS: Final = [TensorSpec("user", "int64", ["n"]), TensorSpec("item", "int64", ["n"])]
OUTPUTS: Final = [TensorSpec("probability", "float32", ["n"])]
RULE: Final = Rule(metric="negative log_loss")
_ATTEMPTS: Final = 5


def register_fm(
    registry: Registry,
    fit: FmFit,
    train: Ratings,
    clock: Clock,
    *,
    measured: Mapping[str, float],
    items: Mapping[str, ItemInfo],
) -> Manifest:
    """Store a fit as a new version, which is not live yet. `measured`: its metrics on held-out ratings.

    Raises ModelRefused if the graph does not answer what the machine answers, BadInput if a metric is not finite.
    """
    wrong = {name: value for name, value in measured.items() if not np.isfinite(value)}
    if wrong:
        raise BadInput(f"metrics {wrong}: the fit has failed")
    model = fit.model
    graph = build_fm(model)
    parity = check_parity(fit, graph)
    infos = [items.get(item, ItemInfo("")) for item in model.items]
    place = {item: i for i, item in enumerate(train.items)}
    counts = np.append(np.bincount(train.item, minlength=len(train.items)), 0)
    catalogue = Catalogue(
        items=model.items,
        titles=[info.title for info in infos],
        genres=[list(info.genres) for info in infos],
        ratings=counts[[place.get(item, -1) for item in model.items]].astype(np.int64),
    )
    files = {**encode_fm(FmBundle(graph, model.users, catalogue)), PAIRS_FILE: encode_pairs(train)}
    # Whole seconds: registering the same again within one is then the same version, byte for byte.
    created_at = float(int(clock.now()))
    manifest = Manifest(
        kind=KIND,
        model=registry.model,
        version=version_of(created_at, files[GRAPH_FILE]),
        created_at=created_at,
        creator=f"penstock {installed_version('penstock')}, torch {installed_version('torch')}",
        inputs=INPUTS,
        outputs=OUTPUTS,
        metrics={**measured, "parity": parity},
        parameters=model.parameters(),
        data_fingerprint=fingerprint(train),
    )
    return registry.publish(manifest, files)


def promote_fm(registry: Registry, version: str, train: Ratings, test: Ratings, *, tolerance: float = 0.0) -> Outcome:
    """Make `version` live, unless its log-loss on `test` is above the live version's, or above that of a constant.

    The constant is the share of liked ratings in `train`. Another promotion in between means another comparison.
    Raises Superseded after five.
    """
    rule = Rule(metric=RULE.metric, tolerance=tolerance)
    liked_from = float(registry.manifest(version).parameters.get("liked_from", 4.0))
    positive = test.value >= liked_from
    share = np.full(len(test), float(np.mean(train.value >= liked_from)))
    baseline = -metrics.log_loss(positive, share)
    machine = load_machine(registry, version)
    candidate = -_log_loss(machine, test, positive)
    for _ in range(_ATTEMPTS):
        aliases = registry.aliases()
        live = None if aliases.aliases.live == version else aliases.aliases.live
        try:
            versus = _versus(registry, machine, live, test, positive)
            verdict = judge(rule, candidate, baseline, versus, baseline_name="a constant")
        except BadInput as error:
            verdict = Verdict(False, str(error))
        if not verdict.passed:
            return Outcome(version, False, verdict.reason)
        try:
            registry.promote(version, based_on=aliases)
        except Superseded:
            continue
        return Outcome(version, True, verdict.reason)
    raise Superseded(f"{_ATTEMPTS} other promotions came in between; run it again")


def _versus(
    registry: Registry, machine: Machine, version: str | None, test: Ratings, positive: npt.NDArray[np.bool_]
) -> tuple[float, float] | None:
    """As `gate.versus_live`: the candidate and the live version on ratings that neither was trained on."""
    if version is None:
        return None
    try:
        live = load_machine(registry, version)
        fair = ~trained_on(registry, registry.manifest(version), test)
    except (BadInput, NotFound) as error:
        log.error("live version %s cannot be compared with: %s", version, error)
        return None
    if not fair.any():
        raise BadInput(f"live version {version} was trained on every held-out rating: nothing is left to compare on")
    rows, liked = test.rows(fair), positive[fair]
    return -_log_loss(machine, rows, liked), -_log_loss(live, rows, liked)


def _log_loss(machine: Machine, test: Ratings, positive: npt.NDArray[np.bool_]) -> float:
    users, _ = machine.places(test.users, [])
    _, items = machine.places([], test.items)
    return metrics.log_loss(positive, machine.probability(users[test.user], items[test.item]))
