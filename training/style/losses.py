"""What training makes small: distance to the photo's content, to the picture's strokes, and noise between pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from training.style.vgg import LossNetwork

_SMALL: Final = 1e-8
"""Keeps the square root's slope finite."""


class Strokes(NamedTuple):
    """A layer's statistics over the pixels, which are what a texture is to a network. mean: float32 [n, c];
    covariance: float32 [n, c, c].

    Apart, as the raw Gram matrix (Gatys et al. 2016, eq. 3) of rectified features is nearly all mean: colour would
    drown the strokes.
    """

    mean: Tensor
    covariance: Tensor


def strokes(features: Tensor) -> Strokes:
    """The statistics of activations [n, c, h, w]; products are in the type of the activations."""
    return Strokes(*_Statistics.apply(features.permute(0, 2, 3, 1).flatten(1, 2)))  # type: ignore[no-untyped-call]  # torch's


class _Statistics(torch.autograd.Function):
    """Means [n, c] and covariances [n, c, c] of [n, pixels, c]; its slope is one product, where autograd makes two
    and four sums of the size of the activations: a quarter of a step's time.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> tuple[Tensor, Tensor]:
        mean = flat.mean(1, keepdim=True, dtype=torch.float32)
        deviation = flat - mean.to(flat.dtype)
        ctx.save_for_backward(deviation)
        return mean[:, 0], (deviation.transpose(1, 2) @ deviation).float() / flat.shape[1]

    @staticmethod
    def backward(ctx: Any, by_mean: Tensor, by_covariance: Tensor) -> Tensor:
        # Deviations sum to zero, so the covariance has no slope by way of the mean.
        (deviation,) = ctx.saved_tensors
        of_pixel = by_mean[:, None] / deviation.shape[1]
        of_deviation = (by_covariance + by_covariance.transpose(1, 2)) / deviation.shape[1]
        return torch.baddbmm(of_pixel.to(deviation.dtype), deviation, of_deviation.to(deviation.dtype))


@dataclass(frozen=True)
class StyleTarget:
    """The strokes of a picture, per layer, at full size and at halves of it.

    relu3_1 sees 24 pixels; a picture of half the size shows the same network strokes of 48.
    """

    wanted: tuple[tuple[Strokes, ...], ...]

    @classmethod
    def of(cls, picture: Tensor, network: LossNetwork, *, scales: int = 2) -> "StyleTarget":
        """`picture`: float32 [3, h, w] on the network's device."""
        with torch.no_grad():
            sizes = features_at(picture[None], network, scales)
            return cls(tuple(tuple(strokes(layer) for layer in layers) for layers in sizes))

    def loss(self, features: Sequence[Sequence[Tensor]]) -> Tensor:
        """Distances of means and covariances relative to the picture's own, averaged over layers and scales.

        Not squared: a step then does not depend on how wild a crop is, and no layer outweighs another. 0: the same
        strokes. `features`: what `features_at` gives for some pictures.
        """
        terms = [
            ((is_now - should_be).square().flatten(1).sum(1) + _SMALL).sqrt().mean() / should_be.norm()
            for layers, wanted in zip(features, self.wanted, strict=True)
            for layer, target in zip(layers, wanted, strict=True)
            for is_now, should_be in zip(strokes(layer), target, strict=True)
        ]
        return torch.stack(terms).mean()


def features_at(pictures: Tensor, network: LossNetwork, scales: int) -> list[list[Tensor]]:
    """The network's activations of `pictures` [n, 3, h, w] and of their halves, per scale and layer."""
    sizes = [pictures]
    while len(sizes) < scales:
        sizes.append(functional.avg_pool2d(sizes[-1], 2))
    return [network(size) for size in sizes]


def content_loss(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The mean squared difference at relu3_1 and relu2_2, relative to the photo's own activations there."""
    terms = [
        (found[layer] - wanted[layer]).square().mean(dtype=torch.float32)
        / wanted[layer].square().mean(dtype=torch.float32)
        for layer in (3, 4)
    ]
    return torch.stack(terms).mean()


def total_variation(pictures: Tensor) -> Tensor:
    """The mean squared step between neighbouring pixels of [n, 3, h, w]."""
    across = pictures[..., 1:] - pictures[..., :-1]
    down = pictures[..., 1:, :] - pictures[..., :-1, :]
    return across.square().mean() + down.square().mean()
