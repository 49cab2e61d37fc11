"""What a network is worth in numbers: its losses on photos it has not seen, and how much a panned film flickers."""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from training.style.losses import StyleTarget, content_loss, features_at
from training.style.network import REDUCTION, StyleNetwork
from training.style.pictures import resize
from training.style.vgg import LossNetwork

PAN: Final = (3, 1)
"""Pixels per frame across and down: no multiple of `REDUCTION`, which would hide what strided convolutions do."""
_LARGEST_FLOAT16: Final = 65504.0


class Scores(msgspec.Struct, frozen=True):
    """Losses over test photos, of the network and of the photos as they are, and E_warp of a pan, of both too.

    largest: the largest magnitude that any layer gave; float16 holds 65504.
    """

    style: float
    style_of_photos: float
    content: float
    warp_error: float
    warp_error_of_input: float
    largest: float

    @property
    def fits_float16(self) -> bool:
        """Whether float16 has at least four times the room that the activations took."""
        return self.largest * 4 < _LARGEST_FLOAT16


def evaluate(
    network: StyleNetwork, photos: Sequence[Tensor], target: StyleTarget, loss_network: LossNetwork
) -> Scores:
    """The scores of a network over whole photos [3, h, w], which are scaled to multiples of four."""
    device = next(network.parameters()).device
    style, before, content = [], [], []
    with torch.no_grad(), _Largest(network) as largest:
        for photo in photos:
            height, width = (side // REDUCTION * REDUCTION for side in photo.shape[1:])
            given = resize(photo, height, width)[None].to(device)
            wanted = features_at(given, loss_network, len(target.wanted))
            found = features_at(network(given).clamp(0, 1), loss_network, len(target.wanted))
            style.append(float(target.loss(found)))
            before.append(float(target.loss(wanted)))
            content.append(float(content_loss(found[0], wanted[0])))
        film = pan(synthetic_picture(420, 760, seed=5), count=8, height=240, width=400, seed=6).to(device)
        styled = torch.cat([network(frame[None]).clamp(0, 1) for frame in film])
    return Scores(
        style=float(np.mean(style)),
        style_of_photos=float(np.mean(before)),
        content=float(np.mean(content)),
        warp_error=warp_error(styled),
        warp_error_of_input=warp_error(film),
        largest=largest.value,
    )


def warp_error(frames: Tensor) -> float:
    """E_warp of a film [n, 3, h, w] that moves by `PAN`: the mean squared difference of each frame and the one before
    it, moved, where both show the same (Lai et al. 2018, with the exact flow).
    """
    across, down = PAN
    now = frames[1:, :, : frames.shape[2] - down, : frames.shape[3] - across]
    before = frames[:-1, :, down:, across:]
    return float((now - before).square().mean())


def pan(picture: Tensor, *, count: int, height: int, width: int, seed: int, noise: float = 2 / 255) -> Tensor:
    """A film [count, 3, height, width]: a window that moves by `PAN` over [3, h, w], with a camera's noise."""
    across, down = PAN
    random = np.random.default_rng(seed)
    frames = [
        picture[:, down * index : down * index + height, across * index : across * index + width]
        for index in range(count)
    ]
    film = torch.stack(frames)
    return (film + noise * torch.from_numpy(random.standard_normal(film.shape, np.float32))).clamp(0, 1)


def synthetic_picture(height: int, width: int, *, seed: int) -> Tensor:
    """float32 [3, height, width]: sky, hills, a sun and houses from random numbers: flat parts, edges and texture."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    cloud = sum(_noise(random, height, width, cells) / cells**0.7 for cells in (4, 9, 20, 45))
    sky = np.stack([0.45 + 0.3 * y / height, 0.6 + 0.2 * y / height, np.full_like(y, 0.85)]) + 0.25 * cloud
    radius = np.hypot(x - 0.7 * width, y - 0.25 * height) / height
    picture = np.where(radius < 0.09, np.array([1.0, 0.9, 0.6])[:, None, None], sky)
    for depth in range(4):
        waves = sum(
            random.uniform(0.3, 1) / k * np.sin(2 * np.pi * (k * x / width * 1.7 + random.random()))
            for k in (1, 2, 3, 5)
        )
        edge = height * (0.5 + 0.13 * depth) + 0.05 * height * waves
        colour = np.array([0.25 + 0.12 * depth, 0.42 - 0.03 * depth, 0.35 - 0.08 * depth]) + random.uniform(
            -0.05, 0.05, 3
        )
        ground = colour[:, None, None] + 0.3 * _noise(random, height, width, 60 + 40 * depth)
        picture = np.where(y > edge, ground, picture)
        picture = _houses(picture, edge, random, count=2 + 2 * depth)
    return torch.from_numpy(np.clip(picture, 0, 1).astype(np.float32))


def _houses(picture: np.ndarray, edge: np.ndarray, random: np.random.Generator, *, count: int) -> np.ndarray:
    height, width = picture.shape[1:]
    picture = picture.copy()
    for _ in range(count):
        size = int(random.uniform(0.05, 0.1) * height)
        left = int(random.uniform(0, width - 2 * size))
        foot = min(height, int(edge[0, left]) + size // 2)
        top = max(size, foot - size)
        picture[:, top:foot, left : left + 2 * size] = random.uniform(0.5, 0.95, (3, 1, 1))
        picture[:, top + size // 4 : top + size // 2, left + size // 3 : left + size // 2] = 0.1
        roof = random.uniform(0.2, 0.6, 3) * (1, 0.5, 0.4)
        for row in range(size // 2):
            picture[:, top - row - 1, left + row : left + 2 * size - row] = roof[:, None]
    return picture


def _noise(random: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """float32 [height, width], about -0.5..0.5: smooth random values, `cells` of them across."""
    grid = torch.from_numpy(random.random((1, 1, max(2, cells * height // width), cells), np.float32) - 0.5)
    return nn.functional.interpolate(grid, (height, width), mode="bicubic", align_corners=False)[0, 0].numpy()


class _Largest:
    """While it is entered: the largest magnitude that a layer of the network gave."""

    def __init__(self, network: nn.Module) -> None:
        self.value = 0.0
        self._network = network

    def __enter__(self) -> "_Largest":
        self._hooks = [module.register_forward_hook(self._see) for module in self._network.modules()]
        return self

    def _see(self, module: nn.Module, given: object, result: Tensor) -> None:
        self.value = max(self.value, float(result.abs().max()))

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
