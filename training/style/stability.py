"""The term that keeps films from flickering: a moved, noisy picture must come out moved, and otherwise the same.

Needs no films and no optical flow: motion is made up (Wang et al., AAAI 2020, compound regularisation).
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

_MOST_SHIFT_PIXELS = 6.0
_MOST_TURN_RADIANS = 0.03
_MOST_ZOOM = 0.04
_MOST_NOISE = 0.03
_MOST_LIGHT = 0.04


def random_motion(height: int, width: int, *, count: int, random: np.random.Generator) -> Tensor:
    """A sampling grid [count, h, w, 2] as `grid_sample` reads it: a small shift, turn and zoom per picture.

    Half of the shifts are whole pixels without a turn or zoom: then nothing is blurred by sampling between pixels.
    """
    matrices = []
    for _ in range(count):
        shift = random.uniform(-_MOST_SHIFT_PIXELS, _MOST_SHIFT_PIXELS, 2)
        turn, zoom = (
            random.uniform(-_MOST_TURN_RADIANS, _MOST_TURN_RADIANS),
            1 + random.uniform(-_MOST_ZOOM, _MOST_ZOOM),
        )
        if random.random() < 0.5:
            shift, turn, zoom = np.round(shift), 0.0, 1.0
        cos, sin = math.cos(turn) * zoom, math.sin(turn) * zoom
        across, down = 2 * shift / (width, height)
        matrices.append([[cos, -sin * height / width, across], [sin * width / height, cos, down]])
    return functional.affine_grid(
        torch.tensor(matrices, dtype=torch.float32), [count, 3, height, width], align_corners=False
    )


def moved(pictures: Tensor, grid: Tensor) -> Tensor:
    """[n, c, h, w] sampled at `grid`; what comes in from outside is mirrored."""
    return functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def seen_before(grid: Tensor, margin: int) -> Tensor:
    """1 where `grid` looks at least `margin` pixels inside the picture, else 0: float [n, 1, h, w]."""
    height, width = grid.shape[1:3]
    limit = torch.tensor([1 - 2 * margin / width, 1 - 2 * margin / height], device=grid.device)
    return (grid.abs() <= limit).all(3, keepdim=True).permute(0, 3, 1, 2).float()


def disturbed(pictures: Tensor, grid: Tensor, random: np.random.Generator) -> Tensor:
    """The pictures moved, in slightly other light, with noise: the next frame of a film that nobody made."""
    count = len(pictures)
    light = torch.from_numpy(random.uniform(-_MOST_LIGHT, _MOST_LIGHT, (count, 1, 1, 1)).astype(np.float32))
    strength = torch.from_numpy(random.uniform(0, _MOST_NOISE, (count, 1, 1, 1)).astype(np.float32))
    noise = torch.from_numpy(random.standard_normal(pictures.shape, np.float32)) * strength
    return (moved(pictures, grid) * (1 + light.to(pictures)) + noise.to(pictures)).clamp(0, 1)


def stability_loss(network: nn.Module, pictures: Tensor, styled: Tensor, random: np.random.Generator) -> Tensor:
    """Mean squared difference of net(moved(x)) and moved(net(x)), where the picture was seen before.

    `styled`: net(pictures). Both sides learn; the style loss keeps them from meeting in grey.
    """
    count, _, height, width = pictures.shape
    grid = random_motion(height, width, count=count, random=random).to(pictures.device)
    again = network(disturbed(pictures, grid, random)).float()
    seen = seen_before(grid, margin=4)
    difference: Tensor = ((again - moved(styled, grid)).square() * seen).sum() / (3 * seen.sum()).clamp(min=1)
    return difference
