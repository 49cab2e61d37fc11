"""What a network does with a small picture, before it is let near a film."""

from typing import TYPE_CHECKING, Final

import numpy as np

from models.contracts.film import FilmOptions
from models.errors import BadInput, ModelRefused
from models.style import ort_runner
from models.style.core import load_core
from models.style.manifest import StyleManifest
from models.style.network import open_network

if TYPE_CHECKING:
    from onnx import ModelProto

# Unequal and uneven, so that swapped axes and lost remainders show.
_SIZES: Final = ((64, 96), (112, 80))


def try_out(graph: bytes, manifest: StyleManifest) -> None:
    """Run the network on pictures of noise. Raises ModelRefused if what it gives is no picture of the same size.

    It may take any time and memory: call it where both are bounded.
    """
    core = load_core(graph, manifest)
    fixed = manifest.height is not None and manifest.width is not None
    sizes = ((manifest.height, manifest.width),) if fixed else tuple(_on_multiple(size, manifest) for size in _SIZES)
    for height, width in sizes:
        assert height is not None
        assert width is not None
        _check_size(core, manifest, height, width)
    frame = np.random.default_rng(0).integers(0, 256, (1, *_SIZES[0], 3), dtype=np.uint8)
    height, width = _SIZES[0]
    network = open_network(graph, manifest, height=height, width=width, options=FilmOptions(style=manifest.style))
    try:
        network(frame)
    except BadInput as error:
        raise ModelRefused(f"{manifest.file}: {error}") from error


def _on_multiple(size: tuple[int, int], manifest: StyleManifest) -> tuple[int, int]:
    height, width = (-(-side // manifest.multiple) * manifest.multiple for side in size)
    return height, width


def _check_size(core: "ModelProto", manifest: StyleManifest, height: int, width: int) -> None:
    image = manifest.input
    sizes = {"N": 1, "C": 3, "H": height, "W": width}
    shape = [sizes[axis] for axis in image.layout]
    unit = np.random.default_rng(0).random(shape)
    value = (image.low + unit * (image.high - image.low)).astype(image.dtype)
    try:
        given = ort_runner.run_once(core, {image.name: value}, manifest.output.name)
    except RuntimeError as error:
        raise ModelRefused(f"{manifest.file}: fails on a picture of {width}x{height}: {error}") from error
    expected = tuple(sizes[axis] for axis in manifest.output.layout)
    if given.shape != expected:
        raise ModelRefused(
            f"{manifest.file}: expected a picture of the size that it was given, {expected}, got {given.shape}; "
            f"if it takes only some sizes, say so by `multiple` or `height` and `width` in its manifest"
        )
