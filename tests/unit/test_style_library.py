"""Where styles come from, which version a film gets, and what is tried before a network is registered."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import helper

from models.errors import BadInput, ModelRefused
from models.registry import Registry
from models.style.library import StyleLibrary, publish_style
from models.style.manifest import Image, StyleManifest
from models.style.names import model_name
from models.style.tryout import try_out
from tests.fakes import FakeBlobs
from tests.unit.styles import Painter, identity, manifest_of, model_of


def ship(folder: Path, graph: bytes, manifest: StyleManifest) -> None:
    (folder / manifest.style).mkdir(exist_ok=True)
    (folder / manifest.style / f"{manifest.quality}.json").write_bytes(msgspec.json.encode(manifest))
    (folder / manifest.style / manifest.file).write_bytes(graph)


def register(blobs: FakeBlobs, graph: bytes, manifest: StyleManifest, version: str, *, promote: bool = True) -> None:
    publish_style(blobs, manifest, graph, version=version, created_at=1.0, creator="test", card=b"# Toy")
    if promote:
        Registry(blobs, model_name(manifest.style, manifest.quality)).promote(version)


def test_a_shipped_style_is_found_and_its_version_says_which_bytes_it_is(tmp_path: Path) -> None:
    graph = identity()
    ship(tmp_path, graph, manifest_of(graph))
    library = StyleLibrary(tmp_path)
    style = library.find("toy", "fine")
    assert (style.graph, style.version) == (graph, f"shipped-{style.manifest.sha256[:12]}")
    assert library.open("toy", "fine", style.version) == style
    assert [(each.manifest.style, each.version) for each in library.styles()] == [("toy", style.version)]


def test_the_live_version_of_the_registry_wins_and_the_one_a_film_was_planned_with_stays(tmp_path: Path) -> None:
    shipped, first, second = identity(), Painter(seed=1).onnx(), Painter(seed=2).onnx()
    blobs = FakeBlobs()
    ship(tmp_path, shipped, manifest_of(shipped))
    library = StyleLibrary(tmp_path, blobs)
    register(blobs, first, manifest_of(first, multiple=2, card="CARD.md"), "v1", promote=False)
    assert library.find("toy", "fine").graph == shipped
    Registry(blobs, "style-toy-fine").promote("v1")
    planned = library.find("toy", "fine")
    assert (planned.graph, planned.version) == (first, "v1")
    register(blobs, second, manifest_of(second, multiple=2), "v2")
    assert library.find("toy", "fine").graph == second
    assert library.open("toy", "fine", "v1") == planned
    assert [each.version for each in library.styles()] == ["v2"]
    assert Registry(blobs, "style-toy-fine").file(Registry(blobs, "style-toy-fine").manifest("v1"), "CARD.md")


def test_a_style_or_quality_that_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    graph = identity()
    ship(tmp_path, graph, manifest_of(graph))
    library = StyleLibrary(tmp_path, FakeBlobs())
    with pytest.raises(BadInput, match="style toy: expected quality fine, got 'fast'"):
        library.find("toy", "fast")
    for name in ("starry", "../toy", ""):
        with pytest.raises(BadInput, match=r"style: expected toy \(fine\), got"):
            library.find(name, "fine")
    with pytest.raises(BadInput, match="one to be registered first"):
        StyleLibrary(tmp_path / "none").find("toy", "fine")


def test_a_film_planned_with_another_installation_s_style_is_refused(tmp_path: Path) -> None:
    graph = identity()
    ship(tmp_path, graph, manifest_of(graph))
    with pytest.raises(
        ModelRefused, match=r"planned with shipped-000000000000, .* let all parts run the same version"
    ):
        StyleLibrary(tmp_path).open("toy", "fine", "shipped-000000000000")
    with pytest.raises(ModelRefused, match="no registry is at hand"):
        StyleLibrary(tmp_path).open("toy", "fine", "v1")


def test_sound_networks_pass_the_try_out() -> None:
    painter = Painter().onnx()
    try_out(painter, manifest_of(painter, multiple=2))
    fixed = identity(shape=(1, 3, 40, 56))
    try_out(fixed, manifest_of(fixed, height=40, width=56))


@pytest.mark.parametrize(
    ("node", "weights", "reason"),
    [
        (
            helper.make_node("MaxPool", ["image"], ["styled"], kernel_shape=[2, 2], strides=[2, 2]),
            {},
            "expected a pic",
        ),
        (
            helper.make_node("Transpose", ["image"], ["styled"], perm=[0, 1, 3, 2]),
            {},
            "expected a picture of the size",
        ),
        (
            helper.make_node("Reshape", ["image", "to"], ["styled"]),
            {"to": np.array([1, 3, 8, 8])},
            "fails on a picture",
        ),
        (helper.make_node("Div", ["image", "no"], ["styled"]), {"no": np.float32(0)}, "not finite"),
    ],
)
def test_networks_that_give_no_picture_of_the_same_size_are_refused(
    node: object, weights: object, reason: str
) -> None:
    graph = model_of([node], weights).SerializeToString()  # type: ignore[list-item,arg-type]  # parametrised
    with pytest.raises(ModelRefused, match=reason):
        try_out(graph, manifest_of(graph))


def test_a_network_that_needs_a_multiple_passes_once_its_manifest_says_so() -> None:
    rows = [
        helper.make_node("SpaceToDepth", ["image"], ["packed"], blocksize=32),
        helper.make_node("DepthToSpace", ["packed"], ["styled"], blocksize=32),
    ]
    graph = model_of(rows).SerializeToString()
    with pytest.raises(ModelRefused, match="fails on a picture"):
        try_out(graph, manifest_of(graph))
    try_out(graph, manifest_of(graph, multiple=32))
    assert manifest_of(graph).input == Image(name="image")
