"""Ids for idempotent producers that are never given twice, not even after a crash."""

from __future__ import annotations

from pathlib import Path

from .log.flush import Flusher
from .log.journal import Journal

_BLOCK = 1000


class ProducerIds:
    """Counts up from 1.

    A block of ids is made durable before the first of it is given out; a restart skips the rest of it.
    """

    def __init__(self, path: Path, flusher: Flusher) -> None:
        self._reserved_until = 1
        self._journal = Journal(path, flusher, self._replay)
        self._next = self._reserved_until
        if self._journal.messages > 100:
            self._journal.rewrite([b"%d" % self._reserved_until])

    def _replay(self, payload: bytes) -> None:
        self._reserved_until = int(payload)

    def take(self) -> int:
        """A new id, or StorageFailed."""
        if self._next >= self._reserved_until:
            self._journal.append_now(b"%d" % (self._next + _BLOCK))
            self._reserved_until = self._next + _BLOCK
        self._next += 1
        return self._next - 1

    def close(self) -> None:
        """Give the journal back."""
        self._journal.close()
