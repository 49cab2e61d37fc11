"""The frames of one segment, the same wherever decoding had to begin."""

from __future__ import annotations  # Packet[...] is a type for the checker alone

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from models.contracts.film import FilmPlan, Seek, Segment
from models.errors import BadInput
from video.colour import TO_RGB, swscale_matrix
from video.packets import packets_of, set_mark
from video.probe import open_film, picture, prepare_decoder

log = logging.getLogger(__name__)

_FULL: Final = 2


class Frame(NamedTuple):
    """A decoded frame."""

    time: int
    """In the time base of the source."""
    picture: npt.NDArray[np.uint8]
    """uint8, (height, width, 3), RGB; read only, rows may be padded."""


class _WrongStart(Exception):  # an answer within this file, not an error
    """Decoding from a key packet did not lead to the first frame."""


def frames_between(
    path: Path, plan: FilmPlan, segment: Segment, stopped: threading.Event | None = None
) -> Iterator[Frame]:
    """The frames of the segment in order, exactly those of the plan; otherwise `BadInput` says what is missing.

    Ends early, between two packets, once `stopped` is set.
    """
    stopped = stopped or threading.Event()
    convert = _converter(plan)
    count = 0
    for frame in _segment_frames(path, plan, segment, stopped):
        expected = segment.times[count]
        if plan.marks == "pts" and frame.pts != expected:
            break
        yield Frame(expected, convert(frame))
        count += 1
        if count == segment.frames:
            return
    if not stopped.is_set():
        raise BadInput(_missing(plan, segment, count))


def _missing(plan: FilmPlan, segment: Segment, count: int) -> str:
    numerator, denominator = plan.source.time_base
    at = (segment.times[count] - plan.segments[0].start) * numerator / denominator
    return (
        f"the film is damaged {at:.2f} s after its start: expected {segment.frames} frames from number"
        f" {segment.first + 1}, {count} could be decoded before one was missing"
    )


def _segment_frames(path: Path, plan: FilmPlan, segment: Segment, stopped: threading.Event) -> Iterator[VideoFrame]:
    """Decoded frames from the segment's first on, to the end of the film."""
    starts: list[Seek | None] = [segment.seek, None] if segment.seek else [None]
    for seek in starts:
        with open_film(path) as container:
            stream = picture(container)
            prepare_decoder(stream)
            frames = _decoded(container, stream, plan, seek, stopped)
            try:
                yield from _from_mark(frames, plan, segment, from_start=seek is None)
            except _WrongStart:
                continue
            return


def _from_mark(
    frames: Iterator[VideoFrame], plan: FilmPlan, segment: Segment, *, from_start: bool
) -> Iterator[VideoFrame]:
    """The frames from the segment's first on."""
    for number, frame in enumerate(frames):
        if plan.marks == "count" and from_start:
            found = number == segment.first
        else:
            found = frame.pts == segment.mark
            if not found and plan.marks == "pts" and frame.pts is not None and frame.pts > segment.mark:
                raise _WrongStart
        if found:
            yield frame
            yield from frames
            return
    raise _WrongStart


def _decoded(
    container: InputContainer, stream: VideoStream, plan: FilmPlan, seek: Seek | None, stopped: threading.Event
) -> Iterator[VideoFrame]:
    """All frames from a key packet (None: the first) to the end of the film, with their marks as `pts`."""
    counted = plan.marks == "count"
    skipped = (seek.pts or 0) if counted and seek else 0
    for number, packet in enumerate(_packets_from(container, stream, None if counted else seek)):
        if stopped.is_set():
            return
        if number < skipped:
            continue  # where stamps lead nowhere, packets are counted
        if packet is not None:
            set_mark(packet, plan.marks, number)
        try:
            frames = stream.decode(packet)
        except av.FFmpegError:
            continue  # a frame that is needed will be missed
        yield from frames


def _packets_from(
    container: InputContainer, stream: VideoStream, seek: Seek | None
) -> Iterator[Packet[VideoStream] | None]:
    """The packets of the stream from the key packet on."""
    if seek is None:
        yield from packets_of(container, stream)
        return
    target = seek.dts if seek.dts is not None else seek.pts
    assert target is not None
    container.seek(target, stream=stream, backward=True)
    packets = packets_of(container, stream)
    for packet in packets:
        if packet is None:
            raise _WrongStart
        if packet.pts == seek.pts and (packet.dts == seek.dts or seek.dts is None or packet.dts is None):
            yield packet
            break
        if packet.is_keyframe and packet.pts is not None and seek.pts is not None and packet.pts > seek.pts:
            raise _WrongStart
    yield from packets


def _converter(plan: FilmPlan) -> Callable[[VideoFrame], npt.NDArray[np.uint8]]:
    """Makes RGB of a decoded frame, in the size and by the matrix and range of the film."""
    source = plan.source
    size = source.width, source.height
    reformatter = VideoReformatter()
    matrix = swscale_matrix(plan.encoder.matrix)

    def convert(frame: VideoFrame) -> npt.NDArray[np.uint8]:
        nonlocal size
        if (frame.width, frame.height) != size:
            size = frame.width, frame.height
            log.info("the picture is now %dx%d: scaled to %dx%d", *size, source.width, source.height)
        full = source.colour.range == _FULL or frame.format.name.startswith("yuvj")
        rgb = reformatter.reformat(
            frame,
            width=source.width,
            height=source.height,
            format="rgb24",
            src_colorspace=matrix,
            src_color_range=_FULL if full else 1,
            dst_color_range=_FULL,
            interpolation=TO_RGB,
            threads=1,
        )
        plane = rgb.planes[0]
        return np.ndarray(
            (rgb.height, rgb.width, 3), np.uint8, buffer=memoryview(plane), strides=(plane.line_size, 3, 1)
        )

    return convert
