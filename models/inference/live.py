"""What the registry calls live (a bank, a recommender), kept up to date while a process runs."""

import logging
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from models.errors import BadInput, ModelRefused, NotFound, TryLater
from models.inference.bank import ModelBank, load_bank
from models.ports import Clock
from models.registry import Registry
from models.windowspec import WindowSpec

log = logging.getLogger(__name__)


class Versioned(Protocol):
    """A loaded model."""

    @property
    def version(self) -> str:
        """Its name in the registry."""
        ...

    def __len__(self) -> int:
        """How many series or items it knows."""
        ...


Model = TypeVar("Model", bound=Versioned)
Model_co = TypeVar("Model_co", covariant=True)


class LiveModel(Protocol[Model_co]):
    """Gives the version of a model that is live now."""

    def current(self) -> Model_co | None:
        """None while there is none. Raises TryLater while that is not known."""
        ...


class Live(Generic[Model]):
    """Follows the `live` alias; safe to call from several threads.

    The alias is read at most every `refresh_s` seconds. A new model replaces the old one in one assignment, so a call
    in progress ends on the model it began with. One that `load` refuses is logged once and the old one stays.
    """

    def __init__(
        self, registry: Registry, clock: Clock, load: Callable[[Registry, str], Model], refresh_s: float = 2.0
    ) -> None:
        self.name = registry.model
        self._registry = registry
        self._clock = clock
        self._load = load
        self._refresh_s = refresh_s
        self._model: Model | None = None
        self._seen: str | None = None
        self._read_once = False
        self._next_read = float("-inf")
        self._lock = threading.Lock()

    def current(self) -> Model | None:
        """The live model, or None while there is none that can be used.

        Raises TryLater only until the alias could be read for the first time: "no model" must not be said when
        the truth is "not known". Later the last model serves while storage is away.
        """
        if self._due() and self._lock.acquire(blocking=not self._read_once):
            try:
                if self._due():
                    self._refresh()
            finally:
                self._lock.release()
        return self._model

    def _due(self) -> bool:
        now = self._clock.now()
        # A clock set back must not stop refreshing for as long as it was set back.
        return now >= self._next_read or now < self._next_read - self._refresh_s

    def _refresh(self) -> None:
        try:
            live = self._registry.aliases().aliases.live
            if live != self._seen:
                self._swap(live)
            self._read_once = True
        except TryLater as error:
            if not self._read_once:
                raise
            log.warning("live model %s cannot be read, keeping %s: %s", self.name, self._version, error)
        except (BadInput, NotFound) as error:
            # Not `_seen`, when the alias itself is unreadable: it is read again at the next refresh.
            self._read_once = True
            log.error("live model %s refused, keeping %s: %s", self.name, self._version, error)
        self._next_read = self._clock.now() + self._refresh_s

    def _swap(self, version: str | None) -> None:
        if version is None:
            self._model, self._seen = None, None
            return
        try:
            model = self._load(self._registry, version)
        except (BadInput, NotFound):
            # Versions never change: what was refused once is not fetched again until the alias moves.
            self._seen = version
            raise
        self._model, self._seen = model, version
        log.info("live model %s is now %s (%d)", self.name, version, len(model))

    @property
    def _version(self) -> str:
        return self._model.version if self._model else "none"


class LiveBank(Live[ModelBank]):
    """The live bank of a fleet; one trained on other windows than `spec` is refused."""

    def __init__(
        self, registry: Registry, clock: Clock, refresh_s: float = 2.0, *, spec: WindowSpec | None = None
    ) -> None:
        def load(registry: Registry, version: str) -> ModelBank:
            bank = load_bank(registry, version)
            if spec is not None and bank.spec != spec:
                raise ModelRefused(f"{version} is for {bank.spec.name} windows, not {spec.name}")
            return bank

        super().__init__(registry, clock, load, refresh_s)
