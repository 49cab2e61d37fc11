"""A small durable log of messages: for what must survive a restart but is no record of a user."""

from __future__ import annotations

import logging
import os
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from crc32c import crc32c

from ..errors import CannotStart, StorageFailed
from .files import cut_tail, sync_directory, write_whole
from .flush import Flusher, FlushJob, Ticket

_log = logging.getLogger(__name__)
_FRAME = struct.Struct(">II")  # payload length, checksum of length and payload


def _frame(payload: bytes) -> bytes:
    length = struct.pack(">I", len(payload))
    return length + struct.pack(">I", crc32c(payload, crc32c(length))) + payload


class Journal:
    """Messages in the order of their appending, each with a checksum.

    On open every message is handed to `replay`. What a crash left unfinished at the end is cut off; damage that whole
    messages follow is `CannotStart`.
    The owner calls `rewrite` with the messages that still matter when there are too many `messages`.
    """

    def __init__(self, path: Path, flusher: Flusher, replay: Callable[[bytes], None]) -> None:
        self._path = path
        self._flusher = flusher
        self._failure: str | None = None
        self._swapping = threading.Lock()
        existed = path.exists()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._size, self._messages = 0, 0
        self._recover(replay)
        if not existed:
            sync_directory(path.parent)

    def _recover(self, replay: Callable[[bytes], None]) -> None:
        data = self._path.read_bytes()
        for payload in _sound_messages(data):
            replay(payload)
            self._size += _FRAME.size + len(payload)
            self._messages += 1
        if self._size == len(data):
            return
        if any(_message_at(data, at) is not None for at in range(self._size + 1, len(data))):
            os.close(self._fd)
            raise CannotStart(
                f"{self._path} is damaged at byte {self._size}, and whole messages follow: nothing was changed. "
                "Restore the file from a copy, or go on without what follows, which is kept beside it: "
                f"python -m infra.local.eventhubs cut {self._path}"
            )
        cut = cut_tail(self._fd, self._size, self._path)
        _log.warning("%s: cut %d bytes that a crash left unfinished", self._path, cut)

    @property
    def messages(self) -> int:
        """How many messages the file holds, outdated ones included."""
        return self._messages

    def append(self, payload: bytes) -> Ticket | None:
        """Write one message; it is durable after `settled`. StorageFailed leaves the journal as it was."""
        self._write(payload)
        return self._flusher.mark(self)

    def _write(self, payload: bytes) -> None:
        if self._failure is not None:
            raise StorageFailed(self._failure)
        self._size += write_whole(self._fd, [_frame(payload)], self._size, str(self._path))
        self._messages += 1

    async def settled(self, ticket: Ticket | None) -> None:
        """Return when the message may be relied upon under the flush policy, or raise StorageFailed."""
        await self._flusher.settled(ticket)
        if self._failure is not None:
            raise StorageFailed(self._failure)

    def append_now(self, payload: bytes) -> None:
        """Write one message and flush it at once: for rare ones that must be durable before what follows."""
        self._write(payload)
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._fail(error)
            raise StorageFailed(self._failure) from error

    def begin_flush(self) -> FlushJob:
        """The whole file."""

        def flush() -> None:
            with self._swapping:
                os.fdatasync(self._fd)

        def done(failure: OSError | None) -> None:
            if failure is not None:
                self._fail(failure)

        return FlushJob(flush, done)

    def _fail(self, failure: OSError) -> None:
        self._failure = f"{self._path}: flushing failed ({failure.strerror}); restart the hub to go on writing"
        _log.error("%s", self._failure)

    def rewrite(self, payloads: Iterable[bytes]) -> None:
        """Replace all messages by these, as one durable step; on a full disk the longer journal stays as it is."""
        fresh = self._path.with_suffix(".new")
        content = [_frame(payload) for payload in payloads]
        try:
            with fresh.open("wb") as file:
                file.writelines(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            _log.warning("%s: not shortened (%s)", self._path, error.strerror)
            return
        with self._swapping:
            os.close(self._fd)
            self._fd = os.open(self._path, os.O_RDWR)
        self._size, self._messages = sum(map(len, content)), len(content)

    def close(self) -> None:
        """Give the file back."""
        with self._swapping:
            os.close(self._fd)


def cut_journal(path: Path) -> int:
    """Cut a journal behind its last sound message, and keep the rest beside it; returns how many bytes that were."""
    data = path.read_bytes()
    size = sum(_FRAME.size + len(payload) for payload in _sound_messages(data))
    if size == len(data):
        return 0
    with path.open("r+b") as file:
        return cut_tail(file.fileno(), size, path)


def _sound_messages(data: bytes) -> Iterator[bytes]:
    """The messages from the start on, up to the first place that holds none."""
    at = 0
    while (payload := _message_at(data, at)) is not None:
        yield payload
        at += _FRAME.size + len(payload)


def _message_at(data: bytes, start: int) -> bytes | None:
    """The whole, sound message that begins at `start`, if there is one."""
    if len(data) - start < _FRAME.size:
        return None
    length, crc = _FRAME.unpack_from(data, start)
    if length > len(data) - start - _FRAME.size:
        return None
    payload = data[start + _FRAME.size : start + _FRAME.size + length]
    if crc32c(payload, crc32c(data[start : start + 4])) != crc:
        return None
    return payload
