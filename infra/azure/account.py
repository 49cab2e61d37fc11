"""How every client of a storage account is made: endpoints, time limits, no retries."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from models.errors import ConfigurationError

_OPTIONS: Final[dict[str, Any]] = {
    # A retry after a lost answer would turn "we created it" into "it exists already"; callers decide instead.
    "retry_total": 0,
    "connection_timeout": 3,  # seconds
    "read_timeout": 10,  # seconds without a byte
}
# One request up to these sizes, so that a create is atomic and a read sees one version.
BLOB_OPTIONS: Final[dict[str, Any]] = {
    "max_single_put_size": 64 * 1024 * 1024,
    "max_single_get_size": 64 * 1024 * 1024,
}
# Files go piece by piece, so that memory stays small; a piece that fails is sent or asked for again.
FILE_OPTIONS: Final[dict[str, Any]] = {
    "retry_total": 3,
    "max_single_put_size": 4 * 1024 * 1024,
    "max_block_size": 4 * 1024 * 1024,
    "max_single_get_size": 4 * 1024 * 1024,
    "max_chunk_get_size": 4 * 1024 * 1024,
}

# Account and key that every storage emulator ships with, published in Microsoft's documentation;
# they open nothing else.
_EMULATOR: Final = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
    "QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
)


def client_options(connection_string: str) -> dict[str, Any]:
    """Options of a client of this account; one on this machine is never reached through the environment's proxy."""
    here = "://127.0.0.1" in connection_string or "://localhost" in connection_string
    return {**_OPTIONS, "use_env_settings": not here}


def full_connection_string(connection_string: str) -> str:
    """`connection_string`, or what the shortcut `UseDevelopmentStorage=true` stands for: the Python SDK lacks it."""
    return _EMULATOR if connection_string.strip("; ").lower() == "usedevelopmentstorage=true" else connection_string


@contextmanager
def opening(what: str) -> Iterator[None]:
    """Within the block, what the SDK says of a wrong connection string comes out as ConfigurationError."""
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(f"{what}: the connection string is wrong: {error}") from error
