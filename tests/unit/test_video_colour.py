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


def write(path: Path, matrix: int, span: int, size: tuple[int, int] | None = None) -> None:
    """The patches in a film that was converted by `matrix`, and says so unless that is 2."""
    image = patches()
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, span
        used = {2: 5, 6: 5}.get(matrix, matrix)
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(image).reformat(
                format="yuv420p",
                dst_colorspace=used,
                dst_color_range=span or 1,
                src_color_range=2,
                interpolation=0x40000 | 0x2002,
            )
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
    assert np.abs(middles(frame.picture) - np.array(COLOURS)).max() <= 2.5
    segment = tmp_path / "0.segment"
    segment.write_bytes(make_segment(source, plan, 0, Same()))
    out = tmp_path / "out.mp4"
    join_film(source, plan, [segment], out)
    again = plan_film(out, OPTIONS, LIMITS)
    # A range that is not said is the limited one.
    assert (again.source.colour.matrix, again.source.colour.range or 1) == (matrix, span or 1)
    back = next(iter(frames_between(out, again, again.segments[0])))
    assert np.abs(middles(back.picture) - np.array(COLOURS)).max() <= 4.5


def test_films_without_tags_are_read_as_players_guess(tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    write(source, 2, 0)
    plan = plan_film(source, OPTIONS, LIMITS)
    assert plan.encoder.matrix == 6
    assert any("colour matrix" in note for note in plan.notes)
