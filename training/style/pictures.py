"""Pictures as float tensors: reading, scaling, writing, and the crops of photos that a step of training sees."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.errors import BadInput

_ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


def read_picture(path: Path) -> Tensor:
    """A picture file as float32 [3, height, width], RGB 0..1. Raises BadInput if it cannot be read as a picture."""
    try:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            pixels = frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, StopIteration, IndexError, OSError) as error:
        raise BadInput(
            f"{path.name}: expected a picture (JPEG, PNG and the like), it cannot be read: {error}"
        ) from error
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255.0


def write_picture(picture: Tensor, path: Path) -> None:
    """Write float [3, height, width], RGB 0..1, as JPEG if `path` ends in .jpg, else as PNG; clamped and rounded."""
    name, pixels = ("mjpeg", "yuvj444p") if path.suffix == ".jpg" else ("png", "rgb24")
    frame = av.VideoFrame.from_ndarray(to_bytes(picture), format="rgb24").reformat(format=pixels)
    codec = av.CodecContext.create(name, "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt = frame.width, frame.height, pixels
    codec.time_base = Fraction(1)
    codec.qmin, codec.qmax = 2, 5  # of JPEG: hardly to be seen
    frame.pts = 0
    path.write_bytes(b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)]))


def to_bytes(picture: Tensor) -> np.ndarray:
    """uint8 [height, width, 3] of float [3, height, width] 0..1, clamped and rounded."""
    scaled = (picture.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy())


def resize(picture: Tensor, height: int, width: int) -> Tensor:
    """The picture [3, h, w] at another size, smoothed where it shrinks."""
    scaled = functional.interpolate(
        picture[None], size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return scaled[0].clamp(0, 1)


def scale_to(picture: Tensor, short_side: int) -> Tensor:
    """The picture with its shorter side at `short_side` pixels, its shape kept."""
    height, width = picture.shape[1:]
    factor = short_side / min(height, width)
    return resize(picture, max(short_side, round(height * factor)), max(short_side, round(width * factor)))


class Photos:
    """The photos of a folder, held in memory as uint8, and random crops that depend on seed and step alone."""

    def __init__(self, pictures: Sequence[Tensor], crop: int) -> None:
        """`pictures`: float [3, h, w] 0..1; those smaller than `crop` are enlarged to it."""
        if not pictures:
            raise BadInput("expected at least one photo to train with, got none")
        fitting = [picture if min(picture.shape[1:]) >= crop else scale_to(picture, crop) for picture in pictures]
        self._pictures = [(picture * 255).round().to(torch.uint8) for picture in fitting]
        self.crop = crop

    def __len__(self) -> int:
        return len(self._pictures)

    def batch(self, size: int, *, seed: int, step: int) -> Tensor:
        """float32 [size, 3, crop, crop]: crops of random photos at random scales, half of them mirrored."""
        random = np.random.default_rng([seed, step])
        return torch.stack([self._crop(random) for _ in range(size)])

    def _crop(self, random: np.random.Generator) -> Tensor:
        photo = self._pictures[random.integers(len(self._pictures))]
        height, width = photo.shape[1:]
        # Up to the whole short side: the network meets flat sky and fine grass, near and far.
        side = round(self.crop * (min(height, width) / self.crop) ** random.random())
        top, left = random.integers(height - side + 1), random.integers(width - side + 1)
        cut = photo[:, top : top + side, left : left + side].float() / 255.0
        if side != self.crop:
            cut = resize(cut, self.crop, self.crop)
        return cut.flip(2) if random.random() < 0.5 else cut


def read_photos(folder: Path) -> list[Tensor]:
    """Every picture of `folder` (not of folders inside it) in name order. Raises BadInput if there is none."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in _ENDINGS)
    if not paths:
        raise BadInput(f"{folder}: expected a folder with pictures ({', '.join(sorted(_ENDINGS))}), found none")
    return [read_picture(path) for path in paths]
