"""What the recommendation routes need, made once per process by the composition root."""

from dataclasses import dataclass

from functions.recommend.variants import VariantCounter, Variants
from models.inference.fm import Machine
from models.inference.live import LiveModel
from models.ports import Clock, EventSender, StateStore


@dataclass(frozen=True, slots=True)
class RecommendServices:
    """Ports and the objects on them; all safe to share between threads."""

    state: StateStore
    ratings: EventSender
    clock: Clock
    variants: Variants
    counter: VariantCounter
    machine: LiveModel[Machine]
