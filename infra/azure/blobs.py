"""BlobStore on a storage account: the first segment of a name is the container, made on first write."""

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from azure.core import MatchConditions
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobProperties, BlobServiceClient

from infra.azure.account import BLOB_OPTIONS, FILE_OPTIONS, client_options, full_connection_string, opening
from infra.azure.errors import storage_code, translated, unless_there
from models.errors import BadInput, NotFound
from models.ports import Blob, BlobInfo

T = TypeVar("T")
_LARGE_BYTES = 4 * 1024 * 1024


class AzureBlobs:
    """A BlobStore of one account; one request per call, without retries.

    When the answer to a write is lost, TryLater is raised and the write may have happened: a second `create` then
    raises AlreadyExists, a second `replace` under the old etag Superseded. Safe to share between threads.
    """

    def __init__(self, connection_string: str) -> None:
        connection = full_connection_string(connection_string)
        with opening("storage account"):
            self._account = BlobServiceClient.from_connection_string(
                connection, **client_options(connection), **BLOB_OPTIONS
            )
            self._files = BlobServiceClient.from_connection_string(
                connection, **{**client_options(connection), **FILE_OPTIONS}
            )

    def get(self, name: str) -> Blob:
        """The whole blob. Raises NotFound."""
        with translated(f"blob {name}"):
            download = self._blob(name).download_blob()
            data = download.readall()
            return Blob(_info(name, download.properties), data)

    def head(self, name: str) -> BlobInfo | None:
        """Info of the blob, or None if there is none."""
        try:
            with translated(f"blob {name}"):
                return _info(name, self._blob(name).get_blob_properties())
        except NotFound:
            return None

    def create(self, name: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> BlobInfo:
        """Write a new blob whole (`If-None-Match: *`). Raises AlreadyExists, and then changed nothing."""

        def put() -> BlobInfo:
            answer = self._blob(name).upload_blob(data, overwrite=False, metadata=dict(metadata or {}))
            return _written(name, len(data), answer, metadata)

        return self._with_container(name, put, size=len(data))

    def replace(
        self, name: str, data: bytes, *, etag: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> BlobInfo:
        """Write the blob whole. With `etag` (`If-Match`), only over that version, else Superseded is raised."""
        condition: dict[str, Any] = (
            {} if etag is None else {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}
        )

        def put() -> BlobInfo:
            answer = self._blob(name).upload_blob(data, overwrite=True, metadata=dict(metadata or {}), **condition)
            return _written(name, len(data), answer, metadata)

        return self._with_container(name, put, size=len(data))

    def download(self, name: str, path: Path) -> BlobInfo:
        """Write the blob to the file `path` piece by piece, whole or not at all. Raises NotFound, Superseded."""
        part = path.with_name(f"{path.name}.part")
        try:
            # The SDK asks for every piece of the version that the first one was of.
            with translated(f"blob {name}"), part.open("wb") as file:
                stream = self._blob(name, self._files).download_blob()
                stream.readinto(file)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        return _info(name, stream.properties)

    def upload(self, name: str, path: Path, *, metadata: Mapping[str, str] | None = None) -> BlobInfo:
        """Write a new blob whole from the file `path`, piece by piece. Raises AlreadyExists, then changed nothing."""
        size = path.stat().st_size

        def put() -> BlobInfo:
            with path.open("rb") as file:
                answer = self._blob(name, self._files).upload_blob(
                    file, length=size, overwrite=False, metadata=dict(metadata or {})
                )
            return _written(name, size, answer, metadata)

        return self._with_container(name, put, size=size)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Blobs whose name starts with `prefix` (container and more), in name order, with metadata."""
        container, rest = _split(prefix)
        try:
            with translated(f"blobs {prefix}"):
                found = self._account.get_container_client(container).list_blobs(rest, include=["metadata"])
                for properties in found:
                    yield _info(f"{container}/{properties.name}", properties)
        except NotFound:
            return

    def delete(self, name: str) -> None:
        """Remove the blob; nothing happens if there is none."""
        try:
            with translated(f"blob {name}"):
                self._blob(name).delete_blob()
        except NotFound:
            return

    def close(self) -> None:
        """Close the connections."""
        self._account.close()
        self._files.close()

    def _blob(self, name: str, account: BlobServiceClient | None = None) -> BlobClient:
        container, rest = _split(name)
        return (account or self._account).get_blob_client(container, rest)

    def _with_container(self, name: str, put: Callable[[], T], *, size: int) -> T:
        """The answer of `put`, tried once more after making the container it misses."""
        try:
            with translated(f"blob {name}"):
                try:
                    return put()
                except ResourceNotFoundError as error:
                    if storage_code(error) != "ContainerNotFound":
                        raise
                self._make_container(_split(name)[0])
                return put()
        finally:
            if size > _LARGE_BYTES:
                # The SDK's request and response refer to each other: the body would stay in memory until the
                # collector happens to come by. What was made just now is in its youngest generations.
                gc.collect(1)

    def _make_container(self, container: str) -> None:
        with unless_there(container):
            self._account.create_container(container)


def _split(name: str) -> tuple[str, str]:
    container, slash, rest = name.partition("/")
    if not (container and slash):
        raise BadInput(f"blob name: expected '<container>/<path>', got {name!r}")
    return container, rest


def _info(name: str, properties: BlobProperties) -> BlobInfo:
    return BlobInfo(
        name=name,
        size=int(properties.size),
        etag=_bare(properties.etag),
        modified=_epoch(properties.last_modified),
        metadata=dict(properties.metadata or {}),
    )


def _written(name: str, size: int, answer: Mapping[str, object], metadata: Mapping[str, str] | None) -> BlobInfo:
    modified = answer["last_modified"]
    assert isinstance(modified, datetime)
    return BlobInfo(name, size, _bare(answer["etag"]), _epoch(modified), dict(metadata or {}))


def _bare(etag: object) -> str:
    """One form for all: headers quote an etag, listings do not."""
    return str(etag).strip('"')


def _epoch(moment: datetime | None) -> float:
    return (moment or datetime.fromtimestamp(0, UTC)).timestamp()
