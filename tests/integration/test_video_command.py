"""`penstock video register|styles|plan|stylise`, from a network's file to a film; the registry is the fake one."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from infra.cli import context
from infra.cli.main import app
from models.errors import BadInput, ConfigurationError, ModelRefused
from tests.fakes import FakeBlobs
from tests.unit.styles import Painter, identity, manifest_of
from video.clip import make_clip

pytestmark = pytest.mark.integration


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clip and a network with its manifest, and an empty registry."""
    blobs = FakeBlobs()
    monkeypatch.setenv("DataStorage", "not used")
    monkeypatch.setattr(context, "load_settings", lambda: None)
    monkeypatch.setattr(context, "open_blobs", lambda _: blobs)
    graph = Painter().onnx()
    (tmp_path / "toy.onnx").write_bytes(graph)
    manifest = manifest_of(graph, multiple=2, quality="fast", title="Toy", licence="MIT", card="CARD.md")
    (tmp_path / "toy.json").write_bytes(msgspec.json.encode(manifest))
    (tmp_path / "CARD.md").write_text("# Toy\n")
    make_clip(tmp_path / "clip.mp4", frames=24, fps=24, size=(96, 64))
    return tmp_path


def command(*arguments: object) -> Any:
    """What the command prints as JSON; raises what it raises."""
    result = CliRunner().invoke(app, ["video", *map(str, arguments), "--json"])
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout)


def registered(folder: Path, *options: str) -> Any:
    return command("register", folder / "toy.onnx", "--manifest", folder / "toy.json", *options)


def test_a_registered_network_is_listed_once_it_is_promoted_and_makes_a_film(folder: Path) -> None:
    registered(folder)
    assert "toy" not in [each["style"] for each in command("styles")["styles"]]
    version = registered(folder, "--promote")["version"]
    found = next(each for each in command("styles")["styles"] if each["style"] == "toy")
    assert found == {"style": "toy", "quality": "fast", "version": version, "title": "Toy", "licence": "MIT"}
    look = ("--style", "toy", "--quality", "fast")
    made = command("stylise", folder / "clip.mp4", folder / "out.mp4", *look, "--workers", 2, "--size", "48x32")
    assert (made["frames"], made["style_version"]) == (24, version)
    assert Path(made["out"]).is_file()
    assert Path(made["preview"]).name == "out.preview.jpg"
    assert Path(made["preview"]).is_file()


def test_a_plan_says_segments_time_and_cost(folder: Path) -> None:
    said = command("plan", folder / "clip.mp4", "--rate", 2, "--price-per-hour", 3, "--workers", 4)
    assert (said["frames"], said["segments"], said["workers"], said["seconds"]) == (24, 1, 1, 12.0)
    assert said["cost"] == pytest.approx(12 / 3600 * 3)
    registered(folder, "--promote")
    measured = command("plan", folder / "clip.mp4", "--style", "toy", "--quality", "fast")
    assert measured["frames_per_second"] > 0
    assert measured["seconds"] == pytest.approx(24 / measured["frames_per_second"], abs=0.1)


def test_what_is_wrong_is_said_in_one_sentence(folder: Path) -> None:
    with pytest.raises(BadInput, match="got 'none'"):
        command("stylise", folder / "clip.mp4", folder / "out.mp4", "--style", "none")
    with pytest.raises(BadInput, match="scale"):
        command("stylise", folder / "clip.mp4", folder / "out.mp4", "--style", "toy", "--scale", 7)
    (folder / "toy.onnx").write_bytes(identity())
    with pytest.raises(ModelRefused, match=r"toy\.onnx: its manifest expects sha256"):
        registered(folder)
    assert not (folder / "out.mp4").exists()


def test_the_runtime_of_a_film_and_its_precision_can_be_chosen(folder: Path) -> None:
    registered(folder, "--promote")
    film = ("stylise", folder / "clip.mp4", folder / "out.mp4", "--style", "toy", "--quality", "fast", "--workers", 1)
    assert command(*film, "--providers", "cpu,openvino")["runtime"].startswith("ONNX Runtime")
    assert command(*film, "--precision", "fp32", "--force")["runtime"].endswith("CPU, fp32")
    with pytest.raises(ConfigurationError, match="expected some of tensorrt, cuda, openvino, cpu, got gpu"):
        command(*film, "--providers", "gpu", "--force")
