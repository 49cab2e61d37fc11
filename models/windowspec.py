"""Window specifications: tumbling and hopping event-time windows, aligned to the epoch."""

import re
from dataclasses import dataclass

from models.errors import ConfigurationError

_NAME = re.compile(r"(?:tumbling-(\d+)s|hopping-(\d+)s-(\d+)s)")
MAX_HOP_S = 3600
MAX_PANES = 1440


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Windows of `size_s` seconds, one starting at every multiple of `hop_s` (a divisor of `size_s`).

    Readings are kept in *panes* of one hop; a window is `panes` panes in a row.
    """

    size_s: int
    hop_s: int

    def __post_init__(self) -> None:
        if not (0 < self.hop_s <= MAX_HOP_S and self.size_s % self.hop_s == 0 and 0 < self.panes <= MAX_PANES):
            raise ConfigurationError(
                f"window spec: expected a hop of 1..{MAX_HOP_S} s that divides the size, at most {MAX_PANES} "
                f"times; got size {self.size_s} s, hop {self.hop_s} s"
            )

    @classmethod
    def parse(cls, name: str) -> "WindowSpec":
        """The spec of a name such as `tumbling-60s` or `hopping-300s-60s`."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ConfigurationError(
                f"window spec: expected 'tumbling-<size>s' or 'hopping-<size>s-<hop>s', got {name!r}"
            )
        if match[1]:
            return cls(int(match[1]), int(match[1]))
        return cls(int(match[2]), int(match[3]))

    @property
    def name(self) -> str:
        """The form that `parse` reads; it is part of every blob name."""
        if self.size_s == self.hop_s:
            return f"tumbling-{self.size_s}s"
        return f"hopping-{self.size_s}s-{self.hop_s}s"

    @property
    def size_us(self) -> int:
        """Window length in microseconds."""
        return self.size_s * 1_000_000

    @property
    def hop_us(self) -> int:
        """Distance between window starts in microseconds."""
        return self.hop_s * 1_000_000

    @property
    def panes(self) -> int:
        """Panes per window: 1 for tumbling windows."""
        return self.size_s // self.hop_s if self.hop_s else 0
