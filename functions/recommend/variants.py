"""Which recommender answers whom: shares of the users by a stable hash, and how often each answered."""

import hashlib
import logging
import threading
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from models.contracts.recommendations import Basis, VariantCount, VariantCounts
from models.errors import BadInput, ConfigurationError, PenstockError, Superseded, TryLater
from models.inference.live import LiveModel
from models.inference.recommender import Recommender
from models.ports import Clock, Put, StateStore
from models.recommend.profile import CONTAINER

log = logging.getLogger(__name__)

_PARTITION: Final = "variants"
_COUNTS: Final = "counts"
_INTERVAL_S: Final = 5.0
_MAX_WEIGHT: Final = 1_000_000
# Processes whose last addition is remembered: many times those that add within the same minutes.
_PROCESSES: Final = 200


@dataclass(frozen=True, slots=True)
class Share:
    """One part of the setting: `weight` of all users get `model`."""

    variant: str
    model: str
    weight: int


def parse_shares(text: str, model: str) -> list[Share]:
    """Shares of a setting like `a=recommender:90,b=recommender-b:10`; empty: all users get `model`.

    Raises ConfigurationError for anything else.
    """
    if not text.strip():
        return [Share("default", model, 1)]
    shares = [_share(part.strip()) for part in text.split(",")]
    if len({share.variant for share in shares}) < len(shares) or not sum(share.weight for share in shares):
        raise ConfigurationError(
            f"PENSTOCK_RECOMMENDER_VARIANTS: expected distinct names and a weight above 0: {text!r}"
        )
    return shares


class Variants:
    """The shares with the models that serve them, in the order of the setting. Safe to share between threads."""

    def __init__(self, shares: Sequence[Share], models: Mapping[str, LiveModel[Recommender]]) -> None:
        self.shares = tuple(shares)
        self._models = dict(models)
        self._total = sum(share.weight for share in shares)

    def choose(self, user: str, asked: str | None = None) -> Share:
        """The variant of a user, always the same one, or the one `asked` for. Raises BadInput if that is none."""
        if asked is not None:
            for share in self.shares:
                if share.variant == asked:
                    return share
            known = ", ".join(share.variant for share in self.shares)
            raise BadInput(f"variant: expected one of {known}, got {asked[:100]!r}")
        if len(self.shares) == 1:
            return self.shares[0]
        # Of the name alone, so that every process and every later day gives the same answer.
        digest = hashlib.blake2b(user.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        point = int.from_bytes(digest, "big") * self._total >> 64
        for share in self.shares:
            point -= share.weight
            if point < 0:
                return share
        raise AssertionError("the point lies below the total")

    def recommender(self, share: Share) -> Recommender:
        """The live version of a variant. Raises TryLater while there is none."""
        found = self._models[share.model].current()
        if found is None:
            raise TryLater(
                f"no version of model {share.model!r} is live: train one (penstock train als --promote)",
                retry_after_s=5.0,
            )
        return found

    def share_of(self, share: Share) -> float:
        """Of all users, 0 to 1."""
        return share.weight / self._total


class VariantCounter:
    """Counts answers in memory and adds them to the state store every five seconds, whichever answer is due.

    Each addition has a number, and the store remembers the last one of each process: where it is not known whether it
    was done, it is done again under its number, and counts once. A process that is killed loses the counts since its
    last. Safe to share between threads and processes.
    """

    def __init__(self, state: StateStore, clock: Clock, process: str | None = None) -> None:
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()
        self._process = process or uuid.uuid4().hex
        self._pending: Counter[str] = Counter()
        self._adding = threading.Lock()
        self._addition: Counter[str] = Counter()
        """What is added under the number `_number`, until it is known to be stored; under the lock `_adding`."""
        self._number = 0
        self._due = clock.now() + _INTERVAL_S

    def count(self, share: Share, reason: Basis) -> None:
        """One answer of a variant."""
        with self._lock:
            self._pending[f"{share.variant}/{reason}"] += 1
            now = self._clock.now()
            if self._due - _INTERVAL_S <= now < self._due:
                return
            self._due = now + _INTERVAL_S
        if not self._adding.locked():  # no answer waits for a store that does not answer another one
            self.flush()

    def flush(self) -> None:
        """Store what was counted; while that fails it is kept for the next time."""
        with self._adding:
            try:
                while self._next_addition():
                    self._add(self._addition)
                    self._addition = Counter()
            except PenstockError as error:
                log.warning("counts of variants are stored the next time: %s", error)

    def _next_addition(self) -> bool:
        """Whether there is something to add: what is not known to be stored, else what was counted since."""
        if not self._addition:
            with self._lock:
                self._addition, self._pending = self._pending, Counter()
            self._number += 1
        return bool(self._addition)

    def totals(self, variants: Variants) -> VariantCounts:
        """What all processes have stored, and this one counted, by variant and reason."""
        self.flush()
        document = self._state.get(CONTAINER, _PARTITION, _COUNTS)
        stored = _decoder.decode(document.body).answers if document else {}
        return VariantCounts(variants=[_totals(share, variants.share_of(share), stored) for share in variants.shares])

    def _add(self, pending: Counter[str]) -> None:
        while True:
            document = self._state.get(CONTAINER, _PARTITION, _COUNTS)
            stored = _decoder.decode(document.body) if document else _Counts()
            if stored.additions.get(self._process) == self._number:
                return
            others = {name: number for name, number in stored.additions.items() if name != self._process}
            additions = dict([*others.items(), (self._process, self._number)][-_PROCESSES:])
            body = msgspec.json.encode(_Counts(answers=Counter(stored.answers) + pending, additions=additions))
            try:
                self._state.transact(CONTAINER, _PARTITION, [Put(_COUNTS, body, document.etag if document else "")])
            except Superseded:
                continue
            return


class _Counts(msgspec.Struct, frozen=True):
    """The document: answers by `<variant>/<reason>`."""

    answers: dict[str, int] = {}
    additions: dict[str, int] = {}
    """The number of the last addition by process, the latest process last."""


_decoder: Final = msgspec.json.Decoder(_Counts)


def _totals(share: Share, of_users: float, stored: Mapping[str, int]) -> VariantCount:
    start = f"{share.variant}/"
    answers = {key.removeprefix(start): number for key, number in sorted(stored.items()) if key.startswith(start)}
    return VariantCount(variant=share.variant, model=share.model, share=of_users, answers=answers)


def _share(text: str) -> Share:
    variant, _, rest = text.partition("=")
    model, _, weight = rest.rpartition(":")
    sound = (
        variant.isascii() and variant.replace("-", "").isalnum() and model and weight.isascii() and weight.isdigit()
    )
    if not sound or len(weight) > len(str(_MAX_WEIGHT)) or int(weight) > _MAX_WEIGHT:
        raise ConfigurationError(
            f"PENSTOCK_RECOMMENDER_VARIANTS: expected parts like a=recommender:90 (name=model:weight; letters, "
            f"digits and '-' in the name, weight up to {_MAX_WEIGHT}), got {text!r}"
        )
    return Share(variant, model, int(weight))
