"""Trained networks as ONNX files: equal to PyTorch's, plain, readable again, found by the library of styles."""

import json
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from infra.cli.main import app
from models.errors import BadInput, ModelRefused
from models.registry import Registry
from models.style.core import load_core
from models.style.library import StyleLibrary
from models.style.names import model_name
from tests.fakes import FakeBlobs, FakeClock
from tests.unit.stylenets import TINY, write_photos, write_vgg
from tests.unit.styles import identity
from training.style.bundle import Bundle, Origin, Trained, bundle, card, write_bundle
from training.style.evaluate import Scores, synthetic_picture
from training.style.graph import network_of, rounded, style_graph
from training.style.network import Architecture, StyleNetwork, initialised
from training.style.pictures import write_picture
from training.style.register import register_style
from training.style.train import TrainingOptions

ORIGIN = Origin(title="Toy", picture="a picture of ours", photos="drawn", weights="random", licence="MIT")
SCORES = Scores(style=0.3, style_of_photos=0.6, content=0.8, warp_error=2e-4, warp_error_of_input=1e-4, largest=100.0)


def network(architecture: Architecture = TINY) -> StyleNetwork:
    made = initialised(architecture, 1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return rounded(made)


def made() -> Bundle:
    photo = synthetic_picture(66, 91, seed=1)
    return bundle(network(), [photo], style="toy", quality="fast", title="Toy", licence="MIT")


def trained(bundle: Bundle) -> Trained:
    return Trained(
        quality="fast",
        options=TrainingOptions(architecture=TINY),
        scores=SCORES,
        levels=bundle.levels,
        size_bytes=len(bundle.graph),
        parameters=1,
    )


@pytest.mark.parametrize("architecture", [TINY, Architecture(width=6, blocks=2, ends=9)])
@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (3, 3, 64, 100), (2, 3, 132, 44)])
def test_the_graph_gives_what_pytorch_gives_for_any_batch_and_size(
    architecture: Architecture, shape: tuple[int, ...]
) -> None:
    torch_network = network(architecture)
    session = onnxruntime.InferenceSession(style_graph(torch_network))
    given = torch.rand(shape, generator=torch.Generator().manual_seed(0))

    (found,) = session.run(None, {"image": given.numpy()})

    with torch.no_grad():
        expected = torch_network(given).clamp(0, 1).numpy()
    assert np.abs(found - expected).max() < 1e-4


def test_the_graph_has_no_nodes_that_compute_shapes_and_stores_kernels_as_float16() -> None:
    model = onnx.load_from_string(style_graph(network()))
    kinds = {node.op_type for node in model.graph.node}
    assert kinds == {"Pad", "Conv", "Cast", "InstanceNormalization", "Relu", "Add", "DepthToSpace", "Slice", "Clip"}
    stored = {item.name: item.data_type for item in model.graph.initializer}
    assert stored["blocks.0.first.kernel"] == onnx.TensorProto.FLOAT16


def test_a_network_is_read_back_from_its_graph_exactly() -> None:
    wide = network(Architecture(width=5, blocks=2, ends=5))
    again = network_of(style_graph(wide))
    assert again.architecture == wide.architecture
    for name, weight in wide.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_another_graph_is_not_read_as_a_network_of_ours() -> None:
    with pytest.raises(ModelRefused, match="this is another"):
        network_of(identity())


def test_a_network_whose_training_went_astray_is_not_exported() -> None:
    # Its ReLU may make the NaN a zero: what the runtime gives can look like a picture.
    lost = network()
    with torch.no_grad():
        lost.head.conv.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(ModelRefused, match=r"weights that are not finite \(head\.kernel\)"):
        bundle(lost, [synthetic_picture(64, 64, seed=1)], style="toy", quality="fast", title="Toy", licence="MIT")


def test_a_written_bundle_is_a_shipped_style(tmp_path: Path) -> None:
    written = made()
    write_bundle(tmp_path / "toy", written)
    (tmp_path / "toy" / "CARD.md").write_text(card("toy", ORIGIN, [trained(written)]))

    found = StyleLibrary(tmp_path).find("toy", "fast")

    assert (found.graph, found.manifest) == (written.graph, written.manifest)
    assert written.levels <= 1
    load_core(found.graph, found.manifest)


def test_a_registered_style_is_found_once_it_is_live_with_its_card(tmp_path: Path) -> None:
    blobs, written = FakeBlobs(), made()
    library = StyleLibrary(tmp_path, blobs)
    register_style(blobs, written, ORIGIN, trained(written), FakeClock(1000.0), promote=False)
    with pytest.raises(BadInput):
        library.find("toy", "fast")

    version = register_style(blobs, written, ORIGIN, trained(written), FakeClock(1000.0), promote=True)

    assert library.find("toy", "fast").version == version
    registry = Registry(blobs, model_name("toy", "fast"))
    manifest = registry.manifest(version)
    assert b"a picture of ours" in registry.file(manifest, "CARD.md")
    assert manifest.metrics["warp_error"] == SCORES.warp_error
    assert manifest.parameters["steps"] == TrainingOptions(architecture=TINY).steps


def test_a_card_says_whose_data_it_was_and_what_was_measured() -> None:
    text = card("toy", ORIGIN, [trained(made())])
    for said in ("a picture of ours", "drawn", "MIT", "0.300 (0.600)", "2.00e-04 (1.00e-04)", "## Limits"):
        assert said in text


def test_activations_that_come_near_the_end_of_float16_are_noticed() -> None:
    assert SCORES.fits_float16
    assert not msgspec.structs.replace(SCORES, largest=30000.0).fits_float16


def test_the_command_trains_resumes_and_writes_a_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.style.network.ARCHITECTURES", {"fast": TINY, "fine": TINY})
    write_picture(synthetic_picture(96, 128, seed=9), tmp_path / "style.png")
    photos, vgg = write_photos(tmp_path / "photos", 3), write_vgg(tmp_path)
    arguments = ["train", "style", "--style", str(tmp_path / "style.png"), "--photos", str(photos), "--vgg", str(vgg)]
    arguments += ["--name", "toy", "--quality", "fast", "--steps", "2", "--batch", "1", "--crop", "64"]
    arguments += ["--style-size", "64", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--json"]

    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    graph = (tmp_path / "out" / "fast.onnx").read_bytes()
    second = CliRunner().invoke(app, arguments)

    assert second.exit_code == 0, second.output
    assert (tmp_path / "out" / "fast.onnx").read_bytes() == graph, "the checkpoint is of the last step: nothing to do"
    document = json.loads(second.stdout)
    assert (document["style"], document["steps"]) == ("toy", 2)
    assert document["levels_from_pytorch"] <= 1
    assert StyleLibrary(tmp_path / "out").styles() == []
    assert (tmp_path / "work" / "preview-0.png").exists()
    assert "style.png" in (tmp_path / "out" / "CARD.md").read_text()


def test_the_command_wants_a_name_that_a_blob_can_have(tmp_path: Path) -> None:
    given = ["train", "style", "--style", __file__, "--photos", str(tmp_path), "--vgg", __file__, "--name", "../x"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code != 0
    assert isinstance(result.exception, BadInput)
