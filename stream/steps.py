"""A partition as its worker drives it. What is between two checkpoints may be lost at any moment."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from models.errors import PenstockError
from models.ports import BlobStore
from stream.decode import Chunk

REST_S = 1.0
"""While nothing comes, what is done is stored for good after so long."""
# Azurite saves its tables every five seconds.
SETTLED_S = 30.0
"""After so long no store forgets a write."""


class StorageRewound(PenstockError):
    """Something this worker had written is gone: the store lost its latest writes. Restore from the checkpoint."""


def require(blobs: BlobStore, written: Iterable[str]) -> None:
    """Raises StorageRewound if one of the blobs that were `written` is gone."""
    for name in written:
        if blobs.head(name) is None:
            raise StorageRewound(f"{name} was written and is gone")


class Steps(Protocol):
    """Not thread-safe: one caller at a time. Steps that store may be repeated after TryLater.

    After a Conflict or StorageRewound comes `restore`.
    """

    next_offset: int
    """The next offset to process."""
    checkpoint_offset: int
    """The offset that a restart would read from."""

    def restore(self) -> int:
        """Forget all state but what is stored; the offset to read from."""
        ...

    def process(self, chunk: Chunk) -> None:
        """Take in the events of a chunk, without storing anything."""
        ...

    def close_idle(self, silent_for_s: float) -> None:
        """The partition's end was watched for so long, and nothing came."""
        ...

    def hand_over_due(self, *, caught_up: bool = False) -> bool:
        """Whether `hand_over` should be called; `caught_up`: nothing more waits to be processed."""
        ...

    def hand_over(self) -> None:
        """Pass on what came out."""
        ...

    def archive_due(self) -> bool:
        """Whether `archive` should be called before a checkpoint is due."""
        ...

    def archive(self) -> None:
        """Write what was read into the archive."""
        ...

    def checkpoint_due(self, *, resting: bool = False) -> bool:
        """Whether `checkpoint` should be called; `resting`: nothing has come for a while."""
        ...

    def checkpoint(self) -> None:
        """Hand over, archive, and let a restart read from `next_offset`."""
        ...

    @property
    def unsettled(self) -> bool:
        """Whether a store that forgets its latest writes could still forget the last checkpoint."""
        ...

    def verify(self) -> None:
        """Raise if it has."""
        ...

    def status(self) -> Mapping[str, int | None]:
        """Counts and clocks for people."""
        ...
