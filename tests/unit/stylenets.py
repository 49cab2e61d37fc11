"""A loss network with random weights in the form that training expects, tiny style networks, and pictures."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from training.style.evaluate import synthetic_picture
from training.style.network import Architecture
from training.style.pictures import write_picture

TINY = Architecture(width=4, blocks=1, ends=3)
CPU = torch.device("cpu")


def vgg_state(width: int = 64) -> dict[str, Tensor]:
    """Random convolutions, each scaled so that its mean activation is 1 on a picture; 64 is the width of VGG-19."""
    generator = torch.Generator().manual_seed(0)
    state = {
        "0.weight": torch.tensor([[0.0, 0, 255], [0, 255, 0], [255, 0, 0]])[:, :, None, None],
        "0.bias": torch.tensor([-103.939, -116.779, -123.68]),
    }
    hidden = functional.conv2d(synthetic_picture(96, 128, seed=1)[None], state["0.weight"], state["0.bias"])
    channels = 3
    for name, times, pooled in (("2", 1, 0), ("5", 1, 1), ("9", 2, 0), ("12", 2, 1), ("16", 4, 0)):
        leaving = times * width
        weight = torch.randn((leaving, channels, 3, 3), generator=generator)
        activation = functional.relu(functional.conv2d(hidden, weight, padding=1))
        state[f"{name}.weight"] = weight / activation.mean()
        state[f"{name}.bias"] = torch.zeros(leaving)
        hidden = activation / activation.mean()
        hidden = functional.max_pool2d(hidden, 2) if pooled else hidden
        channels = leaving
    return state


def write_vgg(folder: Path) -> Path:
    """The weights as a file."""
    path = folder / "vgg.pth"
    torch.save(vgg_state(), path)
    return path


def write_photos(folder: Path, count: int = 4) -> Path:
    """A folder of pictures."""
    folder.mkdir()
    for number in range(count):
        write_picture(synthetic_picture(80, 112, seed=number), folder / f"{number}.png")
    return folder
