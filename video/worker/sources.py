"""Uploaded films on a worker's disk: each version of a blob is downloaded once, and room is made for the next."""

import hashlib
import logging
import shutil
from pathlib import Path

from models.errors import BadInput, NotFound, Superseded
from models.ports import BlobInfo, BlobStore

log = logging.getLogger(__name__)


class Sources:
    """A folder of downloaded films, emptied when it is made. One process uses it, one thread at a time."""

    def __init__(self, blobs: BlobStore, folder: Path, *, max_bytes: int, max_film_bytes: int) -> None:
        """At most `max_bytes` are kept, but for the film in work; a film larger than `max_film_bytes` is refused."""
        self._blobs = blobs
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_film_bytes = max_film_bytes
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._kept: dict[str, int] = {}
        """Bytes by file name, the one used last at the end."""

    def get(self, name: str, etag: str) -> Path:
        """The file of that version of blob `name`. Raises BadInput if it is there no more, or too large."""
        info = self._blobs.head(name)
        self._check(info, etag)
        assert info is not None
        file = hashlib.sha256(f"{name}\n{etag}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
        if file in self._kept:
            self._kept[file] = self._kept.pop(file)
            return self._folder / file
        self._make_room(info.size)
        try:
            self._check(self._blobs.download(name, self._folder / file), etag)
        except (NotFound, Superseded):
            self._check(self._blobs.head(name), etag)
            raise
        self._kept[file] = info.size
        return self._folder / file

    def _check(self, info: BlobInfo | None, etag: str) -> None:
        if info is None:
            raise BadInput("the uploaded film is gone: expected it to stay until its job has ended")
        if info.etag != etag:
            raise BadInput("the uploaded film was replaced by a newer upload, which becomes a job of its own")
        if info.size > self._max_film_bytes:
            raise BadInput(f"size of the file: expected at most {self._max_film_bytes} bytes, got {info.size}")

    def _make_room(self, size: int) -> None:
        while self._kept and sum(self._kept.values()) + size > self._max_bytes:
            file = next(iter(self._kept))
            (self._folder / file).unlink(missing_ok=True)
            del self._kept[file]
