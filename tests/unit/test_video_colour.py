"""Colours come back as they went in: matrix and range are used alike in both directions."""

from pathlib import Path

import av
import numpy as np
import pytest

from tests.unit.films import LIMITS, OPTIONS, Same
from video.decode import frames_between
from video.join import join_film
from video.plan import plan_film
from video.segment import make_segment

COLOURS = [(0, 0, 0), (128, 128, 128), (255, 255, 255), (250, 20, 30), (20, 200, 60), (40, 60, 220), (180, 90, 200)]


def patches() -> np.ndarray:
    image = np.empty((64, 32 * len(COLOURS), 3), np.uint8)
    for number, colour in enumerate(COLOURS):
        image[:, 32 * number : 32 * (number + 1)] = colour
    return image


def middles(image: np.ndarray) -> np.ndarray:
    return np.array([image[24:40, 32 * at + 8 : 32 * at + 24].reshape(-1, 3).mean(0) for at in range(len(COLOURS))])


# Of red and of blue in the luma, by the numbers of H.273; 2, "not said", is BT.601 at this size.
WEIGHTS = {1: (0.2126, 0.0722), 2: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


def planes(image: np.ndarray, matrix: int, full: bool) -> list[np.ndarray]:
    """Y, U and V by the formulas of H.273; the patches are flat, so every other sample is all of the colour."""
    red, blue = WEIGHTS[matrix]
    r, g, b = (image[..., at] / 255 for at in range(3))
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    luma = 255 * y if full else 16 + 219 * y
    chroma = [128 + (255 if full else 224) * each[::2, ::2] for each in (u, v)]
    return [np.rint(each).clip(0, 255).astype(np.uint8) for each in (luma, *chroma)]


def write(path: Path, matrix: int, span: int) -> None:
    """The patches in a film that was converted by `matrix`, and says so unless that is 2; nothing is lost in it."""
    image = patches()
    height, width, _ = image.shape
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, span
        for number in range(3):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane, values in zip(frame.planes, planes(image, matrix, span == 2), strict=True):
                padded = np.zeros((plane.height, plane.line_size), np.uint8)
                padded[:, : plane.width] = values
                plane.update(padded.tobytes())
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


@pytest.mark.parametrize("span", [0, 1, 2])
@pytest.mark.parametrize("matrix", [1, 2, 6, 9])
def test_colours_reach_the_network_and_the_result_as_they_were(tmp_path: Path, matrix: int, span: int) -> None:
    source = tmp_path / "film.mp4"
    write(source, matrix, span)
    plan = plan_film(source, OPTIONS, LIMITS)
    frame = next(iter(frames_between(source, plan, plan.segments[0])))
    # Y, U and V are whole numbers: half a level of each makes at most two of a colour, of these ones less.
    assert np.abs(middles(frame.picture) - np.array(COLOURS)).max() <= 1.5
    segment = tmp_path / "0.segment"
    segment.write_bytes(make_segment(source, plan, 0, Same()))
    out = tmp_path / "out.mp4"
    join_film(source, plan, [segment], out)
    again = plan_film(out, OPTIONS, LIMITS)
    # A range that is not said is the limited one.
    assert (again.source.colour.matrix, again.source.colour.range or 1) == (matrix, span or 1)
    back = next(iter(frames_between(out, again, again.segments[0])))
    # On flat patches the encoder costs a quarter of a level, and there and back by limited range nothing: the whole
    # numbers are met again. Of full range FFmpeg's converter makes chroma half a level too low, one at most: two
    # levels of blue.
    lost = 2.25 if span == 2 else 0.25
    assert np.abs(middles(back.picture) - middles(frame.picture)).max() <= lost


def test_films_without_tags_are_read_as_players_guess(tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    write(source, 2, 0)
    plan = plan_film(source, OPTIONS, LIMITS)
    assert plan.encoder.matrix == 6
    assert any("colour matrix" in note for note in plan.notes)
