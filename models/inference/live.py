"""The bank that the registry calls live, kept up to date while a process runs."""

import logging
import threading

from models.errors import BadInput, NotFound, TryLater
from models.inference.bank import ModelBank, load_bank
from models.ports import Clock
from models.registry import Registry
from models.windowspec import WindowSpec

log = logging.getLogger(__name__)


class LiveBank:
    """Follows the `live` alias; safe to call from several threads.

    The alias is read at most every `refresh_s` seconds. A new bank replaces the old one in one assignment, so a call
    in progress ends on the bank it began with. A bank that is refused, or trained on other windows than `spec`, is
    logged once and the old one stays.
    """

    def __init__(
        self, registry: Registry, clock: Clock, refresh_s: float = 2.0, *, spec: WindowSpec | None = None
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._refresh_s = refresh_s
        self._spec = spec
        self._bank: ModelBank | None = None
        self._seen: str | None = None
        self._read_once = False
        self._next_read = float("-inf")
        self._lock = threading.Lock()

    def current(self) -> ModelBank | None:
        """The live bank, or None while there is none that can be used.

        Raises TryLater only until the alias could be read for the first time: "no model" must not be said when
        the truth is "not known". Later the last bank serves while storage is away.
        """
        if self._due() and self._lock.acquire(blocking=not self._read_once):
            try:
                if self._due():
                    self._refresh()
            finally:
                self._lock.release()
        return self._bank

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
            log.warning("live model cannot be read, keeping %s: %s", self._version, error)
        except (BadInput, NotFound) as error:
            # Not `_seen`, when the alias itself is unreadable: it is read again at the next refresh.
            self._read_once = True
            log.error("live model refused, keeping %s: %s", self._version, error)
        self._next_read = self._clock.now() + self._refresh_s

    def _swap(self, version: str | None) -> None:
        if version is None:
            self._bank, self._seen = None, None
            return
        try:
            bank = load_bank(self._registry, version)
        except (BadInput, NotFound):
            # Versions never change: what was refused once is not fetched again until the alias moves.
            self._seen = version
            raise
        self._seen = version
        if self._spec is not None and bank.spec != self._spec:
            log.error(
                "live model %s is for %s windows, not %s; keeping %s",
                version, bank.spec.name, self._spec.name, self._version,
            )  # fmt: skip
            return
        self._bank = bank
        log.info("live model is now %s (%d series)", version, len(bank))

    @property
    def _version(self) -> str:
        return self._bank.version if self._bank else "none"
