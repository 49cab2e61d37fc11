"""The network that restyles: Johnson et al. 2016 with nearest-neighbour upsampling, in two sizes."""

from typing import Final, Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

Quality = Literal["fast", "fine"]


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """How wide and deep a network is.

    width: channels at full size, doubled at each halving. ends: kernel of the first and the last convolution.
    """

    width: int
    blocks: int
    ends: int = 9


ARCHITECTURES: Final[dict[Quality, Architecture]] = {
    "fast": Architecture(width=12, blocks=3, ends=5),
    "fine": Architecture(width=32, blocks=3, ends=9),
}
REDUCTION: Final = 4
"""The network halves its input twice: heights and widths must be multiples of this."""


class StyleNetwork(nn.Module):
    """float [n, 3, h, w], RGB 0..1, to the same: h and w multiples of `REDUCTION`, at least 16."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        width, ends = architecture.width, architecture.ends
        self.head = Layer(3, width, ends)
        self.down0 = Layer(width, 2 * width, 3, stride=2)
        self.down1 = Layer(2 * width, 4 * width, 3, stride=2)
        self.blocks = nn.ModuleList(Block(4 * width) for _ in range(architecture.blocks))
        self.up0 = Layer(4 * width, 2 * width, 3)
        self.up1 = Layer(2 * width, width, 3)
        self.tail = nn.Conv2d(width, 3, ends)
        with torch.no_grad():
            self.tail.bias.fill_(0.5)  # type: ignore[union-attr]  # it has one

    def forward(self, pictures: Tensor) -> Tensor:
        """The pictures restyled, in about 0..1: not clamped, as a clamped pixel learns nothing and stays black."""
        hidden = self.down1(self.down0(self.head(pictures)))
        for block in self.blocks:
            hidden = block(hidden)
        hidden = self.up1(doubled(self.up0(doubled(hidden))))
        styled: Tensor = self.tail(reflected(hidden, self.architecture.ends // 2))
        return styled


class Layer(nn.Module):
    """Reflected border, convolution, instance norm, ReLU (which the second half of a block leaves out)."""

    def __init__(self, entering: int, leaving: int, kernel: int, *, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        # The norm takes any bias off again.
        self.conv = nn.Conv2d(entering, leaving, kernel, stride, bias=False)
        self.norm = nn.InstanceNorm2d(leaving, affine=True)
        self.relu = relu

    def forward(self, hidden: Tensor) -> Tensor:
        """[n, entering, h, w] to [n, leaving, h / stride, w / stride]."""
        normed: Tensor = self.norm(self.conv(reflected(hidden, self.conv.kernel_size[0] // 2)))
        return functional.relu(normed) if self.relu else normed


class Block(nn.Module):
    """Two layers and what went into them added: a residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Layer(channels, channels, 3)
        self.second = Layer(channels, channels, 3, relu=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """[n, channels, h, w] to the same."""
        inner: Tensor = self.second(self.first(hidden))
        return hidden + inner


def reflected(hidden: Tensor, border: int) -> Tensor:
    """[n, c, h, w] with `border` mirrored pixels on every side: zeros would show as a dark frame."""
    return functional.pad(hidden, (border, border, border, border), mode="reflect")


def doubled(hidden: Tensor) -> Tensor:
    """[n, c, h, w] at twice the height and width, every pixel four times."""
    return functional.interpolate(hidden, scale_factor=2.0, mode="nearest")


def initialised(architecture: Architecture, seed: int) -> StyleNetwork:
    """A network with the random weights of `seed`, on the CPU; torch's own random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StyleNetwork(architecture)
