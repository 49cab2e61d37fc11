"""`penstock video register|styles|plan|stylise`, from a network's file to a film; the registry is the fake one."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from infra.cli import context, output
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
    assert (said["frames"], said["segments"], said["workers"], said["seconds"]) == (24, 2, 2, 6.0)
    assert said["cost"] == pytest.approx(12 / 3600 * 3)
    registered(folder, "--promote")
    look = ("--style", "toy", "--quality", "fast", "--workers", 2)
    measured = command("plan", folder / "clip.mp4", *look)
    together = measured["frames_per_second"] * measured["workers"]
    assert measured["seconds"] == pytest.approx((measured["start_seconds"] or 0) + 24 / together, abs=0.2)
    made = command("stylise", folder / "clip.mp4", folder / "out.mp4", *look)
    assert (made["segments"], made["workers"]) == (measured["segments"], measured["workers"])


def test_films_on_this_machine_are_held_to_the_limits_of_the_settings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ("plan", folder / "clip.mp4")
    stylise = ("stylise", folder / "clip.mp4", folder / "out.mp4", "--style", "starry-night", "--quality", "fast")
    monkeypatch.setenv("PENSTOCK_VIDEO_MAX_SIDE", "95")
    for wanted in (plan, stylise):
        with pytest.raises(BadInput, match=r"^clip\.mp4: the picture: .* 95 a side, got 96x64"):
            command(*wanted)
    monkeypatch.setenv("PENSTOCK_VIDEO_MAX_SIDE", "10000")
    for wanted in (plan, stylise):
        with pytest.raises(BadInput, match=r"size: expected .* 10000 a side, got 12000x16"):
            command(*wanted, "--size", "12000x16")
    assert command(*plan, "--size", "9000x16")["result"] == "9000x16, .mp4"


def test_without_a_registry_the_commands_say_that_they_know_shipped_styles_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DataStorage")
    monkeypatch.setenv("PENSTOCK_HOME", str(folder / "home"))
    listed = CliRunner().invoke(app, ["video", "styles"])
    assert "starry-night" in listed.stdout
    assert "registered styles are known while Penstock runs: penstock up" in listed.stderr
    with pytest.raises(BadInput, match="got 'toy'; registered styles are known while Penstock runs"):
        command("stylise", folder / "clip.mp4", folder / "out.mp4", "--style", "toy")


def test_a_clip_to_try_things_on_is_a_film(folder: Path) -> None:
    made = CliRunner().invoke(app, ["video", "clip", str(folder / "new.mp4"), "--seconds", "0.4"])
    assert made.exit_code == 0
    assert command("plan", folder / "new.mp4")["frames"] == 10
    again = CliRunner().invoke(app, ["video", "clip", str(folder / "new.mp4")])
    assert "is there already" in str(again.exception)


def test_long_paths_are_printed_whole_in_narrow_terminals(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.stdout, "width", 40)
    out = folder / f"{'long' * 20}.mp4"
    arguments = ["stylise", folder / "clip.mp4", out, "--style", "starry-night", "--quality", "fast", "--workers", 1]
    made = CliRunner().invoke(app, ["video", *map(str, arguments)], catch_exceptions=False)
    assert any(line.startswith(f"{out}: 24 frames") for line in made.stdout.splitlines())
    assert f"before and after: {out.with_suffix('.preview.jpg')}" in made.stdout.splitlines()


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
