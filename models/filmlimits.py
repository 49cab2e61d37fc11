"""What a film may be at most, checked the same way where one is asked for and where it is planned."""

from typing import Final

from models.contracts.film import Limits
from models.errors import BadInput

MIN_SIDE: Final = 16
"""Pixels. Below that there is nothing to stylise, and encoders and networks pad more than they work."""


def check_size(width: int, height: int, limits: Limits, *, what: str = "the picture") -> None:
    """Refuse a size in pixels that is too small or too large; `what` has it. Raises BadInput."""
    if min(width, height) < MIN_SIDE:
        raise BadInput(f"{what}: expected at least {MIN_SIDE}x{MIN_SIDE}, got {width}x{height}")
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise BadInput(
            f"{what}: expected at most {limits.max_pixels:,} pixels and {limits.max_side} a side, "
            f"got {width}x{height}"
        )


def size_of(text: str) -> tuple[int, int]:
    """Width and height of a size as FilmOptions has it, "WIDTHxHEIGHT". Raises BadInput on another form."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise BadInput(f"size: expected WIDTHxHEIGHT in pixels, such as 1280x720, got {text!r}")
    return int(width), int(height)


def check_bytes(size: int, limits: Limits) -> None:
    """Refuse a file that is empty or too large. Raises BadInput."""
    if size == 0:
        raise BadInput("the file is empty")
    if size > limits.max_bytes:
        raise BadInput(f"the file has {size:,} bytes, at most {limits.max_bytes:,} are taken")
