"""Registers a fitted fleet on top of the live version and promotes it, whoever else does so at the same time."""

import logging
from dataclasses import dataclass

from models.errors import ModelRefused, NotFound, Superseded
from models.ports import Clock
from models.registry import Registry
from models.windowspec import WindowSpec
from training.svm.fit import Fleet, SvmOptions
from training.svm.register import Base, Registered, load_base, register

log = logging.getLogger(__name__)

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Publishing:
    """How fleets become versions: where, for which windows, with which parameters."""

    registry: Registry
    spec: WindowSpec
    options: SvmOptions
    clock: Clock

    def live_base(self, version: str | None) -> Base | None:
        """The live version's series; None where it cannot be taken over, which is logged."""
        try:
            return load_base(self.registry, version, self.spec)
        except (ModelRefused, NotFound) as error:
            log.error("live model cannot be taken over, starting anew: %s", error)
            return None

    def publish(self, fleet: Fleet, *, promote: bool, fresh: bool = False) -> Registered:
        """The fleet as a new version, together with the live version's other series unless `fresh`.

        With `promote` it becomes live. If another promotion came in between, the merge is made again on top of that
        one, so nobody's series are lost. Raises Superseded after five such conflicts, BadInput if no series is sound.
        """
        for _ in range(_ATTEMPTS):
            state = self.registry.aliases()
            base = None if fresh else self.live_base(state.aliases.live)
            registered = register(
                self.registry, fleet, options=self.options, spec=self.spec, clock=self.clock, base=base
            )
            if not promote:
                return registered
            try:
                self.registry.promote(registered.manifest.version, based_on=state)
            except Superseded:
                log.info("another model was promoted meanwhile, merging again")
            else:
                return registered
        raise Superseded(f"{_ATTEMPTS} other promotions came in between; run it again")
