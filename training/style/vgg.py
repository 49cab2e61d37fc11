"""The loss network: the first five convolutions of VGG-19 from a weights file, and what is read off its layers."""

import pickle
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from models.errors import BadInput

# Layer numbers of the file, the shapes of their weights, and whether a 2x2 max pool follows.
_LAYERS: Final[tuple[tuple[str, tuple[int, ...], bool], ...]] = (
    ("2", (64, 3, 3, 3), False),
    ("5", (64, 64, 3, 3), True),
    ("9", (128, 64, 3, 3), False),
    ("12", (128, 128, 3, 3), True),
    ("16", (256, 128, 3, 3), False),
)
LAYER_NAMES: Final = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1")
_MEAN_BGR: Final = (-103.939, -116.779, -123.68)
_EXPECTED: Final = (
    "expected a state dict of a normalised VGG-19 to relu3_1: a 1x1 layer '0' that turns RGB 0..1 into mean-free BGR "
    "(bias -103.939, -116.779, -123.68) and convolutions '2', '5', '9', '12', '16', each with a mean activation "
    "near 1"
)


class LossNetwork:
    """VGG-19 to relu3_1 with fixed weights, computed in `dtype`: bfloat16 saves a third of the time."""

    def __init__(self, state: dict[str, Tensor], *, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self._dtype = dtype
        self._input = (state["0.weight"].to(device), state["0.bias"].to(device))
        self._layers = [
            (state[f"{name}.weight"].to(device, dtype), state[f"{name}.bias"].to(device, dtype), pooled)
            for name, _, pooled in _LAYERS
        ]

    def __call__(self, pictures: Tensor) -> list[Tensor]:
        """The activations of `LAYER_NAMES` for float32 [n, 3, h, w], RGB 0..1, h and w at least 8."""
        # The mean is taken off before rounding to bfloat16, which would cost 2 of 256 levels on white.
        hidden = functional.conv2d(pictures, *self._input).to(self._dtype, memory_format=torch.channels_last)
        features = []
        for weight, bias, pooled in self._layers:
            hidden = functional.conv2d(functional.pad(hidden, (1, 1, 1, 1), mode="reflect"), weight, bias).relu_()
            features.append(hidden)
            if pooled:
                hidden = functional.max_pool2d(hidden, 2)
        return features


def load_loss_network(path: Path, *, device: torch.device, dtype: torch.dtype = torch.float32) -> LossNetwork:
    """The loss network of a weights file. Raises BadInput, saying what was expected, for any other file.

    Only tensors are read from the file (`weights_only`): it cannot run code.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise BadInput(f"{path.name}: {_EXPECTED}; it cannot be read: {error}") from error
    return LossNetwork(_checked(state, path.name), device=device, dtype=dtype)


def mean_activations(network: LossNetwork, pictures: Tensor) -> list[float]:
    """The mean activation per layer over float32 [n, 3, h, w]; about 1 each for photos and right weights."""
    with torch.no_grad():
        return [float(feature.float().mean()) for feature in network(pictures)]


def check_activations(network: LossNetwork, pictures: Tensor, name: str) -> None:
    """Raise BadInput unless every layer's mean activation over `pictures` (photos) lies in 0.3..3."""
    means = mean_activations(network, pictures)
    if not all(0.3 <= mean <= 3 for mean in means):
        found = ", ".join(f"{layer} {mean:.3g}" for layer, mean in zip(LAYER_NAMES, means, strict=True))
        raise BadInput(f"{name}: {_EXPECTED}; over the photos they are {found}")


def _checked(state: object, name: str) -> dict[str, Tensor]:
    if not isinstance(state, dict):
        raise BadInput(f"{name}: {_EXPECTED}; got {type(state).__name__}")
    shapes: dict[str, tuple[int, ...]] = {"0.weight": (3, 3, 1, 1), "0.bias": (3,)}
    for layer, shape, _ in _LAYERS:
        shapes |= {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}
    for key, shape in shapes.items():
        found = tuple(state[key].shape) if isinstance(state.get(key), Tensor) else None
        if found != shape:
            raise BadInput(f"{name}: {_EXPECTED}; {key} should have the shape {shape}, got {found}")
    if not torch.allclose(state["0.bias"].float(), torch.tensor(_MEAN_BGR), atol=0.01):
        raise BadInput(
            f"{name}: {_EXPECTED}; the bias of layer '0' is {[round(v, 3) for v in state['0.bias'].tolist()]}"
        )
    return {key: state[key].float() for key in shapes}
