"""Contract of the BlobStore port, on the fake and on Azurite."""

import itertools
import threading
import uuid
from pathlib import Path

import pytest

from infra.azure.blobs import AzureBlobs
from models.errors import AlreadyExists, BadInput, NotFound, Superseded
from models.ports import BlobStore
from tests.fakes import FakeBlobs

containers = (f"{uuid.uuid4().hex[:8]}-{n}" for n in itertools.count())


@pytest.fixture(params=["fake", pytest.param("azurite", marks=pytest.mark.integration)])
def blobs(request):
    if request.param == "fake":
        yield FakeBlobs()
        return
    store = AzureBlobs(request.getfixturevalue("azurite").connection_string)
    yield store
    store.close()


@pytest.fixture
def box():
    """A container that does not exist yet."""
    return next(containers)


def test_a_created_blob_is_read_back_whole_with_its_metadata(blobs: BlobStore, box: str) -> None:
    made = blobs.create(f"{box}/a/b.bin", b"\x00bytes", metadata={"through": "17"})
    read = blobs.get(f"{box}/a/b.bin")
    assert (read.data, read.info) == (b"\x00bytes", made)
    assert (made.name, made.size, made.metadata) == (f"{box}/a/b.bin", 6, {"through": "17"})
    assert made.modified > 1_600_000_000


def test_an_empty_blob_is_read_back_as_empty(blobs: BlobStore, box: str) -> None:
    blobs.create(f"{box}/empty", b"")
    assert blobs.get(f"{box}/empty").data == b""


@pytest.mark.parametrize("path", ["grüße/täg 1%20.bin", "a b#c?d&e", "日本/😀"])
def test_names_keep_their_characters(blobs: BlobStore, box: str, path: str) -> None:
    blobs.create(f"{box}/{path}", b"x")
    assert blobs.get(f"{box}/{path}").data == b"x"
    assert [info.name for info in blobs.list(f"{box}/")] == [f"{box}/{path}"]


def test_creating_a_taken_name_fails_and_changes_nothing(blobs: BlobStore, box: str) -> None:
    first = blobs.create(f"{box}/x", b"first")
    with pytest.raises(AlreadyExists):
        blobs.create(f"{box}/x", b"second")
    assert blobs.get(f"{box}/x").info.etag == first.etag
    assert blobs.get(f"{box}/x").data == b"first"


def test_of_many_creators_of_one_name_exactly_one_wins(blobs: BlobStore, box: str) -> None:
    outcomes: list[str] = []

    def create(n: int) -> None:
        try:
            blobs.create(f"{box}/raced", str(n).encode())
            outcomes.append(str(n))
        except AlreadyExists:
            pass

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert outcomes == [blobs.get(f"{box}/raced").data.decode()]


def test_a_missing_blob_is_not_found_in_a_missing_container_and_in_one_that_exists(
    blobs: BlobStore, box: str
) -> None:
    for _ in range(2):
        with pytest.raises(NotFound):
            blobs.get(f"{box}/missing")
        assert blobs.head(f"{box}/missing") is None
        blobs.delete(f"{box}/missing")
        blobs.replace(f"{box}/there", b"")


def test_replace_without_an_etag_writes_over_what_is_there(blobs: BlobStore, box: str) -> None:
    first = blobs.replace(f"{box}/x", b"1")
    second = blobs.replace(f"{box}/x", b"2", metadata={"k": "v"})
    assert first.etag != second.etag
    assert blobs.head(f"{box}/x") == second
    assert blobs.get(f"{box}/x").data == b"2"


def test_replace_with_an_etag_writes_only_over_that_version(blobs: BlobStore, box: str) -> None:
    first = blobs.create(f"{box}/x", b"1")
    listed = next(iter(blobs.list(f"{box}/")))
    second = blobs.replace(f"{box}/x", b"2", etag=listed.etag)
    with pytest.raises(Superseded):
        blobs.replace(f"{box}/x", b"3", etag=first.etag)
    assert blobs.get(f"{box}/x").info == second


@pytest.mark.parametrize("container_exists", [True, False])
def test_replace_with_an_etag_of_a_removed_blob_is_superseded(
    blobs: BlobStore, box: str, container_exists: bool
) -> None:
    if container_exists:
        blobs.create(f"{box}/other", b"")
    with pytest.raises(Superseded):
        blobs.replace(f"{box}/gone", b"x", etag="0x8DABCDEF")
    assert blobs.head(f"{box}/gone") is None


def test_list_gives_the_names_under_a_prefix_in_order_with_their_info(blobs: BlobStore, box: str) -> None:
    made = {
        name: blobs.create(f"{box}/{name}", name.encode(), metadata={"n": name}) for name in ("p/2", "p/1", "q/1")
    }
    assert list(blobs.list(f"{box}/p/")) == [made["p/1"], made["p/2"]]
    assert list(blobs.list(f"{box}/p/2")) == [made["p/2"]]
    assert list(blobs.list(f"{box}/none")) == []
    assert list(blobs.list(f"no-{box}/")) == []


def test_a_deleted_blob_is_gone_and_its_name_is_free(blobs: BlobStore, box: str) -> None:
    first = blobs.create(f"{box}/x", b"1")
    blobs.delete(f"{box}/x")
    assert blobs.head(f"{box}/x") is None
    assert blobs.create(f"{box}/x", b"1").etag != first.etag


@pytest.mark.parametrize("size", [0, 5, 9 * 1024 * 1024])  # in one piece, and in several
def test_a_file_is_uploaded_once_and_downloaded_whole(blobs: BlobStore, box: str, tmp_path: Path, size: int) -> None:
    (tmp_path / "in").write_bytes(bytes(range(251)) * (size // 251) + bytes(size % 251))
    made = blobs.upload(f"{box}/film", tmp_path / "in", metadata={"style": "waves"})
    assert (made.size, made.metadata) == (size, {"style": "waves"})
    assert blobs.download(f"{box}/film", tmp_path / "out") == blobs.head(f"{box}/film") == made
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    with pytest.raises(AlreadyExists):
        blobs.upload(f"{box}/film", tmp_path / "in")
    assert blobs.head(f"{box}/film") == made


def test_a_blob_that_is_missing_leaves_no_file_behind(blobs: BlobStore, box: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        blobs.download(f"{box}/missing", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_a_container_is_bad_input(blobs: BlobStore) -> None:
    with pytest.raises(BadInput, match="<container>/<path>"):
        blobs.create("name", b"")


@pytest.mark.integration
def test_an_account_on_this_machine_is_not_sought_behind_the_proxy(azurite, box: str, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    store = AzureBlobs(azurite.connection_string)
    store.create(f"{box}/x", b"1")
    assert store.get(f"{box}/x").data == b"1"
    store.close()
