"""BlobLinks: shared access signatures of a storage account, each for one blob, one purpose and a short time."""

from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote

from azure.storage.blob import BlobClient, BlobSasPermissions, BlobServiceClient, generate_blob_sas

from infra.azure.account import client_options, full_connection_string, opening
from infra.azure.errors import translated, unless_there
from models.errors import BadInput, ConfigurationError
from models.ports import Clock, Link

# Clocks of clients and of storage differ; a signature that begins in the future opens nothing yet.
_SKEW: Final = timedelta(minutes=5)


class AzureLinks:
    """BlobLinks signed with the account key of a connection string. Safe to share between threads.

    Both raise ConfigurationError where the connection string holds none, as one with a shared access signature.
    """

    def __init__(self, connection_string: str, clock: Clock) -> None:
        connection = full_connection_string(connection_string)
        with opening("storage account"):
            self._account = BlobServiceClient.from_connection_string(connection, **client_options(connection))
        self._clock = clock

    def to_upload(self, name: str, valid: timedelta) -> Link:
        """By which the blob can be created and written, and nothing else; its container is made if it is missing."""
        self._key()  # before anything is made
        container = self._account.get_container_client(name.partition("/")[0])
        with translated(f"container {container.container_name}"), unless_there(container.container_name):
            container.create_container()
        return self._link(name, valid, BlobSasPermissions(create=True, write=True))

    def to_download(self, name: str, valid: timedelta, *, file_name: str) -> Link:
        """By which the blob can be read, and nothing else; browsers save it as `file_name`."""
        disposition = f"attachment; filename*=UTF-8''{quote(file_name, safe='')}"
        return self._link(name, valid, BlobSasPermissions(read=True), disposition)

    def close(self) -> None:
        """Close the connections."""
        self._account.close()

    def _link(
        self, name: str, valid: timedelta, permission: BlobSasPermissions, disposition: str | None = None
    ) -> Link:
        blob = self._blob(name)
        now = datetime.fromtimestamp(self._clock.now(), UTC).replace(microsecond=0)
        expires = now + valid
        signature = generate_blob_sas(
            str(self._account.account_name),
            blob.container_name,
            blob.blob_name,
            account_key=self._key(),
            permission=permission,
            start=now - _SKEW,
            expiry=expires,
            protocol="https" if self._account.url.startswith("https:") else "https,http",
            content_disposition=disposition,
        )
        return Link(f"{blob.url}?{signature}", expires.timestamp())

    def _key(self) -> str:
        key: str | None = getattr(self._account.credential, "account_key", None)
        if key is None:
            raise ConfigurationError(
                "addresses for uploads and downloads are signed by the account key, which DataStorage does not hold; "
                "put a connection string with AccountKey there, or put films into the container videos-in directly"
            )
        return key

    def _blob(self, name: str) -> BlobClient:
        container, slash, rest = name.partition("/")
        if not (container and slash and rest):
            raise BadInput(f"blob name: expected '<container>/<path>', got {name!r}")
        return self._account.get_blob_client(container, rest)
