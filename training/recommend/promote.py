"""From a registered version to the live one: compare, write histories and vectors, promote."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from models.errors import BadInput, Superseded
from models.ports import StateStore
from models.recommend.ratings import Ratings
from models.registry import Registry
from training.recommend.gate import (
    Rule,
    Served,
    Verdict,
    judge,
    judged_users,
    metric_of,
    served_scorer,
    served_versus,
    versus_live,
)
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

    `parts`: what it was fitted on, and what was held out. `ratings`: all that is known. If the version may go live
    they become the histories of their users, before it does, so that nothing that a version was trained on is
    recommended by it. `progress` counts users while they are written, `written` is called after.

    Another promotion in between means another comparison; if that one is lost, histories are written all the same.
    Raises Superseded after five. Safe to repeat.
    """
    served = Served.load(registry, version)
    judged = judged_users(parts)
    candidate = metric_of(rule, served_scorer(served, judged.train), judged)
    baseline = metric_of(rule, popularity(judged.train), judged)

    def verdict(live: str | None) -> Verdict:
        versus = versus_live(
            registry,
            live,
            judged.test,
            Served.load,
            lambda other, seen: served_versus(rule, served, other, judged, seen),
        )
        return judge(rule, candidate, baseline, versus)

    def write() -> None:
        written(write_users(state, ratings, vectors_of(served), progress=progress))

    return promote_if(registry, version, verdict, before=write)


def promote_if(
    registry: Registry,
    version: str,
    verdict: Callable[[str | None], Verdict],
    *,
    before: Callable[[], None] = lambda: None,
) -> Outcome:
    """Make `version` live if its `verdict` beside a live version (None: there is no other) is that it may.

    A BadInput of `verdict` is a refusal. `before` is called when it may, before it is. Another promotion in between
    means another verdict. Raises Superseded after five.
    """
    for _ in range(_ATTEMPTS):
        aliases = registry.aliases()
        live = None if aliases.aliases.live == version else aliases.aliases.live
        try:
            found = verdict(live)
        except BadInput as error:
            found = Verdict(False, str(error))
        if not found.passed:
            return Outcome(version, False, found.reason)
        before()
        try:
            registry.promote(version, based_on=aliases)
        except Superseded:
            log.info("another version was promoted meanwhile: comparing with that one")
        else:
            return Outcome(version, True, found.reason)
    raise Superseded(f"{_ATTEMPTS} other promotions came in between; run it again")


def vectors_of(served: Served) -> Vectors:
    """What makes the version's user vectors."""
    places = {item: place for place, item in enumerate(served.bundle.catalogue.items)}
    return Vectors(served.manifest.model, served.manifest.version, served.fold(), places)
