"""What AzureBlobs does beside its requests."""

import gc
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from infra.azure.blobs import AzureBlobs


class _Upload:
    """A blob client that leaves its data in a cycle, as the SDK's requests and responses do."""

    def upload_blob(self, data: bytes, **_options: object) -> dict[str, object]:
        self.data = data
        self.upload = self
        return {"etag": '"1"', "last_modified": datetime.now(UTC)}


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize(("size", "stays"), [(5 * 1024 * 1024, False), (1000, True)])
def test_the_memory_of_a_large_body_is_free_once_it_is_written(
    monkeypatch: pytest.MonkeyPatch, size: int, stays: bool
) -> None:
    blobs = AzureBlobs("UseDevelopmentStorage=true")
    made: list[weakref.ref[_Upload]] = []

    def client(_name: str) -> _Upload:
        upload = _Upload()
        made.append(weakref.ref(upload))
        return upload

    monkeypatch.setattr(blobs, "_blob", client)
    blobs.create("raw/large", bytes(size))
    assert (made[0]() is not None) is stays
    blobs.close()
