"""The files of a trained network: its graph, checked against PyTorch, its manifest and its model card."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch
from torch import Tensor

from models.errors import ModelRefused
from models.inference.sessions import runtime
from models.style.core import load_core
from models.style.manifest import Image, StyleManifest
from training.style.evaluate import Scores
from training.style.graph import INPUT, OUTPUT, style_graph
from training.style.network import REDUCTION, Quality, StyleNetwork
from training.style.pictures import resize, to_bytes
from training.style.train import TrainingOptions

CARD: Final = "CARD.md"
_MOST_LEVELS: Final = 1


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a network comes from, for its manifest and card.

    picture: the style picture, its maker and year. photos: whose, how many, under which terms. weights: of the loss
    network. licence: of the trained network.
    """

    title: str
    picture: str
    photos: str
    weights: str
    licence: str = ""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A network whole. levels: the largest difference to PyTorch in steps of 1/255, after rounding."""

    manifest: StyleManifest
    graph: bytes
    levels: int


def bundle(
    network: StyleNetwork, photos: Sequence[Tensor], *, style: str, quality: Quality, title: str, licence: str
) -> Bundle:
    """The graph of a network (`graph.rounded` before) and its manifest.

    Raises ModelRefused if ONNX Runtime's pictures of `photos` differ from PyTorch's by more than one level, or if
    weights are not finite.
    """
    graph = style_graph(network)
    levels = max(_difference(network, graph, photo) for photo in photos)
    if levels > _MOST_LEVELS:
        raise ModelRefused(
            f"the exported graph differs from the network by {levels} of 255; at most {_MOST_LEVELS} is right"
        )
    manifest = StyleManifest(
        style=style,
        quality=quality,
        file=f"{quality}.onnx",
        sha256=hashlib.sha256(graph).hexdigest(),
        input=Image(name=INPUT),
        output=Image(name=OUTPUT),
        multiple=REDUCTION,
        title=title,
        licence=licence,
        card=CARD,
    )
    load_core(graph, manifest)
    return Bundle(manifest=manifest, graph=graph, levels=levels)


def write_bundle(folder: Path, made: Bundle) -> None:
    """Write `<quality>.onnx` and `<quality>.json` into `folder`, over what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / made.manifest.file).write_bytes(made.graph)
    data = msgspec.json.format(msgspec.json.encode(made.manifest), indent=2) + b"\n"
    (folder / f"{made.manifest.quality}.json").write_bytes(data)


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """What a card says of one network."""

    quality: Quality
    options: TrainingOptions
    scores: Scores
    levels: int
    size_bytes: int
    parameters: int


def card(style: str, origin: Origin, networks: Sequence[Trained]) -> str:
    """The model card, in Markdown."""
    names = ["", *(each.quality for each in networks)]
    rows = [_row(names), _row(["---"] * len(names)), *(_row(row) for row in _figures(networks))]
    return _CARD.format(
        title=origin.title,
        style=style,
        picture=origin.picture,
        photos=origin.photos,
        weights=origin.weights,
        licence=origin.licence or "not said",
        table="\n".join(rows),
        size=networks[0].options.style_size,
    )


_CARD: Final = """# {title} (`{style}`)

Feed-forward networks that restyle photos and film frames: convolutions, residual blocks, instance norm (Johnson et
al. 2016), trained by Penstock (`penstock train style`) with a term for stability under small motion.

- Style picture: {picture}, its shorter side at {size} pixels: strokes are of that scale at any frame size.
- Photos: {photos}
- Loss network: {weights}
- Licence of the networks: {licence}. Neither the picture, nor the photos, nor the loss network's weights come with
  them.

{table}

Style loss: distance of means and covariances of VGG activations to the picture's, relative to these, on photos that
were not trained on; content loss: relative squared difference at relu2_2 and relu3_1. E_warp: mean squared
difference of neighbouring frames of a synthetic noisy pan, moved onto each other by the exact motion, on pixels 0..1.

## Limits

- Strokes keep their size in pixels: on large frames they look finer. `--scale` makes them coarser.
- Instance norm looks at the whole frame: a scene whose light changes at once changes everywhere.
- Statistics are of small crops: the picture's colours and strokes come over, its composition does not.
- Trained on photos of nature, people and towns; drawings and screen recordings were not tried.
"""


def _figures(networks: Sequence[Trained]) -> list[list[str]]:
    def figures(name: str, shown: Sequence[str]) -> list[str]:
        return [name, *shown]

    return [
        figures("parameters", [f"{each.parameters:,}" for each in networks]),
        figures("file", [f"{each.size_bytes / 1e6:.2f} MB" for each in networks]),
        figures("steps x batch of crops", [_steps(each.options) for each in networks]),
        figures(
            "weights of content, stability",
            [f"{each.options.content_weight:g}, {each.options.stability_weight:g}" for each in networks],
        ),
        figures(
            "style loss (photos as they are)",
            [f"{each.scores.style:.3f} ({each.scores.style_of_photos:.3f})" for each in networks],
        ),
        figures("content loss", [f"{each.scores.content:.3f}" for each in networks]),
        figures(
            "E_warp (of the input)",
            [f"{each.scores.warp_error:.2e} ({each.scores.warp_error_of_input:.2e})" for each in networks],
        ),
        figures("largest activation", [f"{each.scores.largest:.0f}" for each in networks]),
        figures("ONNX Runtime against PyTorch", [f"{each.levels} of 255" for each in networks]),
    ]


def _steps(options: TrainingOptions) -> str:
    begun = f", from {options.start}" if options.start else ""
    return f"{options.steps} x {options.batch} of {options.crop}x{options.crop}{begun}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _difference(network: StyleNetwork, graph: bytes, photo: Tensor) -> int:
    session = runtime().InferenceSession(graph, providers=["CPUExecutionProvider"])
    height, width = (side // REDUCTION * REDUCTION for side in photo.shape[1:])
    given = resize(photo, height, width)[None]
    with torch.no_grad():
        expected = to_bytes(network(given).clamp(0, 1)[0])
    found = to_bytes(torch.from_numpy(session.run([OUTPUT], {INPUT: given.numpy()})[0])[0])
    return int(np.abs(expected.astype(int) - found.astype(int)).max())
