"""From a registered version to the live one: compare, write histories and vectors, promote."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from models.errors import BadInput, Superseded
from models.ports import StateStore
from models.recommend.ratings import Ratings
from models.registry import Registry
from training.recommend.gate import Rule, Served, Verdict, judge, judged_users, metric_of, served_scorer, versus_live
from training.recommend.ranking import popularity
from training.recommend.splits import Split
from training.recommend.users import Progress, Vectors, Written, write_users

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the version is live now, and why, in a sentence."""

    version: str
    promoted: bool
    reason: str


def promote(
    registry: Registry,
    state: StateStore,
    rule: Rule,
    version: str,
    parts: Split,
    ratings: Ratings,
    *,
    progress: Progress = lambda _done, _total: None,
    written: Callable[[Written], None] = lambda _written: None,
) -> Outcome:
    """Make `version` live, unless it is worse than the live one on the held-out part or does not beat popularity.

    `parts`: what it was fitted on, and what was held out. `ratings`: all that is known; they become the histories of
    their users, whatever the verdict, and before a promotion, so that nothing that a version was trained on is
    recommended by it. `progress` counts users while they are written, `written` is called after.

    Another promotion in between means another comparison. Raises Superseded after five. Safe to repeat.
    """
    served = Served.load(registry, version)
    judged = judged_users(parts)
    candidate = metric_of(rule, served_scorer(served, judged.train), judged)
    baseline = metric_of(rule, popularity(judged.train), judged)
    for _ in range(_ATTEMPTS):
        aliases = registry.aliases()
        other = None if aliases.aliases.live == version else aliases.aliases.live
        verdict = _verdict(rule, registry, served, candidate, baseline, other, judged)
        vectors = vectors_of(served) if verdict.passed else None
        written(write_users(state, ratings, vectors, progress=progress))
        if not verdict.passed:
            return Outcome(version, False, verdict.reason)
        try:
            registry.promote(version, based_on=aliases)
        except Superseded:
            log.info("another version was promoted meanwhile: comparing with that one")
        else:
            return Outcome(version, True, verdict.reason)
    raise Superseded(f"{_ATTEMPTS} other promotions came in between; run it again")


def _verdict(
    rule: Rule, registry: Registry, served: Served, candidate: float, baseline: float, live: str | None, judged: Split
) -> Verdict:
    try:
        return judge(rule, candidate, baseline, versus_live(rule, registry, served, live, judged))
    except BadInput as error:
        return Verdict(False, str(error))


def vectors_of(served: Served) -> Vectors:
    """What makes the version's user vectors."""
    places = {item: place for place, item in enumerate(served.bundle.catalogue.items)}
    return Vectors(served.manifest.model, served.manifest.version, served.fold(), places)
