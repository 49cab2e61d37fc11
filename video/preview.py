"""One frame of a film, before and after, side by side in one picture."""

import os
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt

from models.contracts.film import FilmPlan
from models.errors import BadInput
from video.decode import frames_between
from video.out import check_place
from video.probe import open_film, picture

_CODECS: Final = {".png": ("png", "rgb24"), ".jpg": ("mjpeg", "yuvj444p"), ".jpeg": ("mjpeg", "yuvj444p")}
_MOST_WIDTH: Final = 1280

_Picture = npt.NDArray[np.uint8]


def write_preview(source: Path, film: Path, plan: FilmPlan, out: Path) -> None:
    """The first frame of the middle segment, of the source and of the film, to a .png or .jpg file.

    The file appears whole or not at all; an older one is replaced. Raises OSError if it cannot be written.
    """
    codec, pixel_format = _codec(out)
    segment = plan.segments[len(plan.segments) // 2]
    before = next(iter(frames_between(source, plan, segment, threading.Event()))).picture
    after = _frame_at(film, segment.times[0] * Fraction(*plan.source.time_base))
    height, width = after.shape[:2]
    sides = [_resized(each, height, width) for each in (before, after)]
    pair = np.concatenate([sides[0], np.full((height, max(2, width // 100), 3), 255, np.uint8), sides[1]], axis=1)
    if pair.shape[1] > _MOST_WIDTH:
        pair = _resized(pair, max(1, height * _MOST_WIDTH // pair.shape[1]), _MOST_WIDTH)
    # The picture's own name may be as long as names can be.
    partial = out.with_name(f".penstock-{os.getpid()}.preview")
    try:
        partial.write_bytes(_encoded(pair, codec, pixel_format))
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def check_preview(out: Path, *, force: bool, source: Path) -> None:
    """Raises BadInput unless a picture can be written there; what is there is replaced with `force` only."""
    _codec(out)
    check_place(out, force=force, source=source, what="preview")
    if out.is_dir():
        raise BadInput(f"{out}: is a folder; expected a .png or .jpg file")


def _codec(out: Path) -> tuple[str, str]:
    if (found := _CODECS.get(out.suffix.lower())) is None:
        raise BadInput(f"{out.name}: expected a preview to be a .png or .jpg file")
    return found


def _frame_at(film: Path, moment: Fraction) -> _Picture:
    """The frame shown at `moment`, in seconds; films made here have a key frame where a segment begins."""
    with open_film(film) as container:
        stream = picture(container)
        unit = stream.time_base
        assert unit is not None
        # Within a tick: time bases of containers round.
        container.seek(round(moment / unit), stream=stream)
        shown: Any = None
        for frame in container.decode(stream):
            shown = frame
            if (frame.pts or 0) * unit >= moment - unit:
                break
        if shown is None:
            raise BadInput(f"{film.name}: has no frame at {float(moment):.2f} s")
        result: _Picture = shown.to_ndarray(format="rgb24")
        return result


def _resized(pixels: _Picture, height: int, width: int) -> _Picture:
    if pixels.shape[:2] == (height, width):
        return pixels
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    resized: Any = frame.reformat(width=width, height=height, interpolation="AREA").to_ndarray(format="rgb24")
    return np.asarray(resized, np.uint8)


def _encoded(pixels: _Picture, codec: str, pixel_format: str) -> bytes:
    context: Any = av.CodecContext.create(codec, "w")
    context.height, context.width = pixels.shape[:2]
    context.pix_fmt, context.time_base = pixel_format, Fraction(1)
    if codec == "mjpeg":
        context.options = {"q": "3"}
        context.qmin = context.qmax = 3
        context.color_range = 2
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
        format=pixel_format, dst_color_range=2 if codec == "mjpeg" else None
    )
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))
