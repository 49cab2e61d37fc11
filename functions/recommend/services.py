"""What the recommendation routes need, made once per process by the composition root."""

from dataclasses import dataclass
from typing import Protocol

from functions.recommend.variants import VariantCounter, Variants
from models.inference.fm import Machine
from models.ports import Clock, EventSender, StateStore


class LiveMachine(Protocol):
    """Gives the factorization machine that is live now."""

    def current(self) -> Machine | None:
        """None while there is none; raises TryLater while that is not known."""
        ...


@dataclass(frozen=True, slots=True)
class RecommendServices:
    """Ports and the objects on them; all safe to share between threads."""

    state: StateStore
    ratings: EventSender
    clock: Clock
    variants: Variants
    counter: VariantCounter
    machine: LiveMachine
