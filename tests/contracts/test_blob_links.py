"""Contract of the BlobLinks port on Azurite, with a plain HTTP client as whoever holds the address."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from infra.azure.blobs import AzureBlobs
from infra.azure.links import AzureLinks
from infra.clock import SystemClock
from infra.local.azurite import RunningAzurite
from models.errors import ConfigurationError

pytestmark = pytest.mark.integration

FILM = {"x-ms-blob-type": "BlockBlob"}
HOUR = timedelta(hours=1)


class _Past(SystemClock):
    def now(self) -> float:
        return super().now() - 7200


@pytest.fixture
def links(azurite: RunningAzurite) -> Iterator[AzureLinks]:
    made = AzureLinks(azurite.connection_string, SystemClock())
    yield made
    made.close()


@pytest.fixture
def blobs(azurite: RunningAzurite) -> Iterator[AzureBlobs]:
    store = AzureBlobs(azurite.connection_string)
    yield store
    store.close()


@pytest.fixture
def name() -> str:
    return f"{uuid.uuid4().hex[:8]}/a folder/grüße 'n' \"more\" & 100%.mp4"


def test_an_upload_address_takes_a_put_into_a_container_that_was_missing(links, blobs, name: str) -> None:
    link = links.to_upload(name, HOUR)
    assert link.expires_at == pytest.approx(SystemClock().now() + 3600, abs=30)
    assert httpx.put(link.url, content=b"film", headers=FILM).status_code == 201
    assert blobs.get(name).data == b"film"


def test_an_upload_address_opens_no_other_blob_and_neither_reads_nor_deletes(links, blobs, name: str) -> None:
    blobs.create(name, b"film")
    link = links.to_upload(name, HOUR)
    assert httpx.get(link.url).status_code == 403
    assert httpx.delete(link.url).status_code == 403
    other = link.url.replace("100%25.mp4", "100%25.mov")
    assert other != link.url
    assert httpx.put(other, content=b"x", headers=FILM).status_code == 403


def test_a_download_address_reads_and_does_not_write(links, blobs, name: str) -> None:
    blobs.create(name, b"film")
    link = links.to_download(name, HOUR, file_name="grüße.mp4")
    answer = httpx.get(link.url)
    assert (answer.status_code, answer.content) == (200, b"film")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.mp4"
    assert httpx.put(link.url, content=b"x", headers=FILM).status_code == 403


def test_an_address_ends_with_its_time(azurite: RunningAzurite, blobs, name: str) -> None:
    blobs.create(name, b"film")
    past = AzureLinks(azurite.connection_string, _Past())
    assert httpx.get(past.to_download(name, HOUR, file_name="x").url).status_code == 403
    past.close()


def test_without_an_account_key_no_address_is_signed() -> None:
    links = AzureLinks("BlobEndpoint=https://account.blob.core.windows.net;SharedAccessSignature=sv=x", SystemClock())
    with pytest.raises(ConfigurationError, match="account key"):
        links.to_download("a/b", HOUR, file_name="x")
    links.close()
