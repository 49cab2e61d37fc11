"""A made-up film to look at: a slow pan over hills, with the textures and edges on which a style shows."""

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_PAN: Final = 0.35
"""Of the width, so much comes into the picture in the course of the film."""
_SKY: Final = ((90, 130, 205), (215, 205, 195))
"""Above and at the horizon."""
_GROUNDS: Final = ((105, 125, 140), (75, 115, 90), (115, 125, 60), (160, 105, 50))
"""Hills, from the farthest on."""
_BALLOONS: Final = (
    ((225, 70, 55), 0.2, 0.3, 0.1),
    ((245, 190, 60), 0.55, 0.2, 0.07),
    ((80, 60, 150), 0.8, 0.36, 0.06),
)
"""Colour, place across and down at the start, radius: in widths and heights."""

_Noise = npt.NDArray[Any]  # float32


def landscape(number: int, width: int, height: int, frames: int = 250) -> npt.NDArray[np.uint8]:
    """Picture `number` of the film, uint8, (height, width, 3), RGB; equal arguments give equal pictures."""
    phase = number / max(frames, 1)
    left = round(phase * _PAN * width)
    image = _panorama(width, height)[:, left : left + width].copy()
    rows, columns = np.mgrid[0:height, 0:width]
    for colour, across, down, radius in _BALLOONS:
        x = columns - (across + 0.25 * phase) % 1.0 * width
        y = rows - (down - 0.06 * phase) * height
        inside = np.hypot(x, y) < radius * height
        image[inside] = colour
        image[inside & (np.sin(6 * x / (radius * height)) > 0.4)] = (250, 240, 220)
    return image


@lru_cache(maxsize=2)
def _panorama(width: int, height: int) -> npt.NDArray[np.uint8]:
    """The still part, uint8, (height, the width and what comes into it, 3)."""
    random = np.random.default_rng(3)
    whole = width + round(_PAN * width) + 1
    y, x = np.mgrid[0:height, 0:whole].astype(np.float32)
    above, horizon = (np.array(colour, np.float32) for colour in _SKY)
    clouds = _octaves(random, (height, whole), cells=4, stretch=2.5)
    image = above + (horizon - above) * (y / height / 0.6).clip(0, 1)[..., None] + 75 * clouds[..., None]
    for depth, colour in enumerate(_GROUNDS):
        waves = np.zeros_like(x)
        for k in (1, 2, 5, 11):
            waves += np.sin(6 * k * x / width + random.uniform(0, 7)) / k
        below = y - height * (0.45 + 0.13 * depth + 0.045 * waves)
        # Fields follow the hill: texture is taken by the distance from its ridge.
        field = _octaves(random, (2 * height, whole), cells=10 + 5 * depth, stretch=3)
        texture = np.take_along_axis(field, (below + height).clip(0, 2 * height - 1).astype(int), axis=0)
        ground = np.array(colour, np.float32) * (1 + 0.75 * texture[..., None])
        image = np.where(below[..., None] > 0, ground, image)
    panorama: npt.NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return panorama


def _octaves(random: np.random.Generator, shape: tuple[int, int], *, cells: int, stretch: float) -> _Noise:
    """Noise of `shape`, about -1..1: `cells` blots across, `stretch` times as wide as high, and ever finer ones."""
    noise = np.zeros(shape, np.float32)
    for octave in range(5):
        across = cells * 2**octave
        noise += _blots(random, shape, across, max(2, round(across * stretch * shape[0] / shape[1]))) / 1.6**octave
    return noise / 2


def _blots(random: np.random.Generator, shape: tuple[int, int], across: int, down: int) -> _Noise:
    """Random values -1..1 at `down` x `across` places, smooth between them."""
    places = random.uniform(-1, 1, (down, across)).astype(np.float32)
    noise: _Noise = _between(shape[0], down) @ places @ _between(shape[1], across).T
    return noise


def _between(count: int, places: int) -> _Noise:
    """Weights (count, places) of the places for each pixel: a smooth step from one to the next."""
    at = np.linspace(0, places - 1, count, dtype=np.float32)[:, None]
    near = (1 - np.abs(at - np.arange(places, dtype=np.float32))).clip(0, 1)
    weights: _Noise = near * near * (3 - 2 * near)
    return weights
