"""A fitted factorization machine as a registered version, and promoting one that is not worse on the same ratings."""

from collections.abc import Mapping
from importlib.metadata import version as installed_version
from typing import Final

import numpy as np

from models.inference.fm import Machine, load_machine
from models.manifest import Manifest
from models.ports import Clock
from models.recommend import metrics
from models.recommend.fm_bundle import GRAPH_FILE, KIND, FmBundle, encode_fm
from models.recommend.ratings import Ratings
from models.registry import Registry
from training.recommend.fm.export import INPUTS, OUTPUTS, build_fm, check_parity
from training.recommend.fm.fit import FmFit
from training.recommend.gate import Rule, Verdict, judge, versus_live
from training.recommend.items import ItemInfo, catalogue_of
from training.recommend.pairs import PAIRS_FILE, encode_pairs
from training.recommend.promote import Outcome, promote_if
from training.recommend.register import check_finite, fingerprint
from training.recommend.splits import Bools
from training.stamp import creator, stamped

_RULE: Final = Rule(metric="negative log_loss")


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
    check_finite(measured)
    model = fit.model
    graph = build_fm(model)
    parity = check_parity(fit, graph)
    catalogue = catalogue_of(model.items, items, train)
    files = {**encode_fm(FmBundle(graph, model.users, catalogue)), PAIRS_FILE: encode_pairs(train)}
    stamp = stamped(clock, files[GRAPH_FILE])
    manifest = Manifest(
        kind=KIND,
        model=registry.model,
        version=stamp.version,
        created_at=stamp.created_at,
        creator=creator(f"torch {installed_version('torch')}"),
        inputs=INPUTS,
        outputs=OUTPUTS,
        items=len(catalogue),
        metrics={**measured, "parity": parity},
        parameters=model.parameters(),
        data_fingerprint=fingerprint(train),
    )
    return registry.publish(manifest, files)


def promote_fm(registry: Registry, version: str, train: Ratings, test: Ratings) -> Outcome:
    """Make `version` live, unless its log-loss on `test` is above the live version's, or above that of a constant.

    The constant is the share of liked ratings in `train`. Another promotion in between means another comparison.
    Raises Superseded after five.
    """
    liked_from = float(registry.manifest(version).parameters.get("liked_from", 4.0))
    positive = test.value >= liked_from
    share = np.full(len(test), float(np.mean(train.value >= liked_from)))
    baseline = -metrics.log_loss(positive, share)
    machine = load_machine(registry, version)
    candidate = -_log_loss(machine, test, positive)

    def compared(live: Machine, seen: Bools) -> tuple[float, float]:
        rows, liked = test.rows(~seen), positive[~seen]
        return -_log_loss(machine, rows, liked), -_log_loss(live, rows, liked)

    def verdict(live: str | None) -> Verdict:
        versus = versus_live(registry, live, test, load_machine, compared)
        return judge(_RULE, candidate, baseline, versus, baseline_name="a constant")

    return promote_if(registry, version, verdict)


def _log_loss(machine: Machine, test: Ratings, positive: Bools) -> float:
    users, _ = machine.places(test.users, [])
    _, items = machine.places([], test.items)
    return metrics.log_loss(positive, machine.probability(users[test.user], items[test.item]))
