"""Which styles can be asked for, seen without opening a network."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from models.errors import BadInput
from models.style.library import StyleLibrary
from models.style.names import SHIPPED, StyleNames
from tests.fakes import FakeBlobs
from tests.unit.studio import Studio

OPENS_NETWORKS = {"numpy", "onnx", "onnxruntime", "openvino", "av"}


def test_the_list_of_shipped_styles_is_what_the_folder_holds() -> None:
    there = StyleLibrary(files("video") / "styles").styles()
    assert {(each.manifest.style, each.manifest.quality) for each in there} == SHIPPED


def test_registered_styles_are_named_beside_the_shipped_ones_once_they_are_live(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    studio.register("my-style", "fast")
    studio.register("my-style", "fine", live=False)
    studio.blobs.create("models/style-/aliases.json", b"{}")
    studio.blobs.create("models/style-of nothing/v1/manifest.json", b"{}")
    assert studio.styles.names() == {*SHIPPED, ("my-style", "fast")}
    studio.styles.check("my-style", "fast")
    studio.styles.check("great-wave", "fine")
    with pytest.raises(BadInput, match=r"style my-style: expected quality fast, got 'fine'"):
        studio.styles.check("my-style", "fine")


@pytest.mark.parametrize("name", ["", "..", "My-Style", "great-wave/", "x" * 200, "great-wave-fast"])
def test_a_name_that_no_style_can_have_is_unknown_whatever_it_is(name: str) -> None:
    with pytest.raises(BadInput, match=r"style: expected composition-vii \(fast, fine\), .*, got "):
        StyleNames(FakeBlobs()).check(name, "fine")


def test_orders_for_films_are_taken_without_the_libraries_that_make_them() -> None:
    code = "import sys, functions.videos.intake, functions.videos.uploads, models.style.names; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert OPENS_NETWORKS & set(done.stdout.split()) == set()
