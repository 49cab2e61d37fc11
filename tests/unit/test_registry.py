from __future__ import annotations

import pytest

from models.errors import BadInput, Conflict, ModelRefused, NotFound, Superseded
from models.manifest import Aliases, Manifest
from models.registry import AliasState, Registry
from tests.fakes import FakeBlobs


def manifest(version: str, created_at: float = 1.0) -> Manifest:
    return Manifest(
        model="svm", version=version, created_at=created_at, creator="test", features=["mean"], window="tumbling-60s",
        inputs=[], outputs=[], series=1, metrics={}, parameters={}, data_fingerprint="",
    )  # fmt: skip


@pytest.fixture
def blobs() -> FakeBlobs:
    return FakeBlobs()


@pytest.fixture
def registry(blobs: FakeBlobs) -> Registry:
    return Registry(blobs, "svm")


def test_a_published_version_is_listed_and_its_files_come_back(registry: Registry) -> None:
    registry.publish(manifest("v1"), {"a.bin": b"abc"})
    assert registry.versions() == ["v1"]
    assert registry.file(registry.manifest("v1"), "a.bin") == b"abc"


def test_a_version_without_manifest_does_not_exist(registry: Registry, blobs: FakeBlobs) -> None:
    blobs.create("models/svm/v1/a.bin", b"abc")
    assert registry.versions() == []
    with pytest.raises(NotFound, match=r"model svm has no version 'v1' \(penstock models list\)"):
        registry.promote("v1")


def test_publishing_after_a_crash_half_way_completes_the_version(registry: Registry, blobs: FakeBlobs) -> None:
    blobs.create("models/svm/v1/a.bin", b"abc")
    registry.publish(manifest("v1"), {"a.bin": b"abc"})
    registry.publish(manifest("v1"), {"a.bin": b"abc"})
    assert registry.versions() == ["v1"]


def test_a_version_is_never_overwritten(registry: Registry) -> None:
    registry.publish(manifest("v1"), {"a.bin": b"abc"})
    with pytest.raises(Conflict):
        registry.publish(manifest("v1"), {"a.bin": b"xyz"})
    assert registry.file(registry.manifest("v1"), "a.bin") == b"abc"


@pytest.mark.parametrize("damage", [b"abd", b"ab", b""])
def test_a_file_with_another_digest_is_refused(registry: Registry, blobs: FakeBlobs, damage: bytes) -> None:
    registry.publish(manifest("v1"), {"a.bin": b"abc"})
    blobs.replace("models/svm/v1/a.bin", damage)
    with pytest.raises(ModelRefused, match="sha256"):
        registry.file(registry.manifest("v1"), "a.bin")


def test_a_lost_or_unknown_file_and_a_broken_manifest_are_refused(registry: Registry, blobs: FakeBlobs) -> None:
    published = registry.publish(manifest("v1"), {"a.bin": b"abc"})
    blobs.delete("models/svm/v1/a.bin")
    with pytest.raises(ModelRefused, match="gone"):
        registry.file(published, "a.bin")
    with pytest.raises(ModelRefused, match="no file"):
        registry.file(published, "b.bin")
    blobs.replace("models/svm/v1/manifest.json", b"{")
    with pytest.raises(ModelRefused, match="cannot be read"):
        registry.manifest("v1")


def test_a_manifest_of_another_version_is_refused(registry: Registry, blobs: FakeBlobs) -> None:
    registry.publish(manifest("v1"), {})
    blobs.create("models/svm/v2/manifest.json", blobs.get("models/svm/v1/manifest.json").data)
    with pytest.raises(ModelRefused, match="v1"):
        registry.manifest("v2")


def test_promotion_moves_live_to_previous_and_rollback_swaps_them(registry: Registry) -> None:
    registry.publish(manifest("v1"), {})
    registry.publish(manifest("v2"), {})
    assert registry.promote("v1") == Aliases(live="v1")
    assert registry.promote("v2") == Aliases(live="v2", previous="v1")
    assert registry.promote("v2") == Aliases(live="v2", previous="v1")
    assert registry.rollback() == Aliases(live="v1", previous="v2")
    assert registry.aliases().aliases == Aliases(live="v1", previous="v2")


def test_rollback_without_a_previous_version_is_an_error(registry: Registry) -> None:
    registry.publish(manifest("v1"), {})
    registry.promote("v1")
    with pytest.raises(NotFound, match="previous"):
        registry.rollback()


def test_promotion_based_on_old_aliases_is_superseded(registry: Registry) -> None:
    for version in ("v1", "v2"):
        registry.publish(manifest(version), {})
    empty = registry.aliases()
    registry.promote("v1", based_on=empty)
    with pytest.raises(Superseded):
        registry.promote("v2", based_on=empty)
    assert registry.aliases().aliases.live == "v1"


def test_a_conflict_with_our_own_write_after_a_lost_answer_counts_as_done(registry: Registry) -> None:
    registry.publish(manifest("v1"), {})
    empty = registry.aliases()
    registry.promote("v1", based_on=empty)
    assert registry.promote("v1", based_on=AliasState(Aliases(), None)) == Aliases(live="v1")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a" * 101, "ü"])
def test_names_that_are_no_path_segment_are_refused(registry: Registry, blobs: FakeBlobs, name: str) -> None:
    with pytest.raises(BadInput):
        registry.manifest(name)
    with pytest.raises(BadInput):
        Registry(blobs, name)
    with pytest.raises(BadInput):
        registry.publish(manifest("v1"), {name: b""})
