"""What is in a file: opened with care, since anybody may have made it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from models.contracts.film import Colour, Limits, Ratio, Source, Track
from models.errors import BadInput, TryLater
from models.filmlimits import check_bytes, check_size
from video.cut import lacks_index

# Playlists (hls, concat, dash, sdp ...) would make FFmpeg open files and addresses that the uploader names.
_DEMUXERS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,nut,mxf,gif,mpegvideo,h264,hevc,yuv4mpegpipe"
)
_FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT)
_AT_ONCE: Final = 1 << 20
_FORMATS: Final[dict[str, Any]] = {"matroska,webm": "mkv", "avi": "avi", "mpegts": "ts"}
_SLOWEST, _FASTEST = Fraction(1, 1000), Fraction(1000)
"""Mean rates beyond are a mistake of the file."""
_PACKETS_TO_FIRST_FRAME: Final = 1000
# What a decoder may allocate for a frame, whatever a damaged header claims.
_DECODED_PIXELS: Final = 8192 * 8192
_COVER: Final = Disposition.attached_pic | Disposition.timed_thumbnails


@contextmanager
def open_film(path: Path) -> Iterator[InputContainer]:
    """The file, opened for reading; closed with the block. What FFmpeg cannot read is `BadInput`.

    A disk that fails or is full, also under what the block writes, is `TryLater`; a file that is not there or may not
    be read is the OSError that says so.
    """
    with path.open("rb"):
        pass  # FFmpeg says of films, too, that they do not exist or are forbidden
    # "file:" keeps a name such as "http:..." a name; bytes that are not text in names and tags stay readable.
    try:
        container = av.open(
            f"file:{path.absolute()}",
            "r",
            container_options={"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"},
            options={"max_pixels": str(_DECODED_PIXELS)},
            metadata_errors="replace",
        )
    except (av.FFmpegError, ValueError) as error:
        _check_disk(path, error)
        raise BadInput(f"not a film that can be read: {_unread(path, error)}") from error
    try:
        yield container
    except (av.FFmpegError, UnicodeError) as error:
        _check_disk(path, error)
        raise BadInput(f"the film is damaged: {why(error)}") from error
    finally:
        container.close()


def _unread(path: Path, error: Exception) -> str:
    if lacks_index(path):
        return "its index (moov) is missing; was it cut short? copy it again"
    reason = "its kind is not taken" if getattr(error, "errno", None) == errno.EINVAL else why(error)
    return f"{reason}; expected mp4, mov, mkv, webm or avi"


def _check_disk(path: Path, error: Exception) -> None:
    """Raise TryLater if the disk is at fault. FFmpeg says "input/output error" of damaged films, too."""
    number = getattr(error, "errno", None)
    if number in _FULL_DISK or (number == errno.EIO and not _readable(path)):
        raise TryLater(f"a film cannot be read or written: {why(error)}") from error


def _readable(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            while file.read(_AT_ONCE):
                pass
    except OSError:
        return False
    return True


def picture(container: InputContainer) -> VideoStream:
    """The video stream that is the film: the default one, else the first; never a cover."""
    candidates = [each for each in container.streams.video if not each.disposition & _COVER]
    if not candidates:
        what = "sound but no pictures" if container.streams.audio else "no pictures"
        raise BadInput(f"expected a film, this file has {what}")
    return next((each for each in candidates if each.disposition & Disposition.default), candidates[0])


def prepare_decoder(stream: VideoStream) -> None:
    """One thread: decoding is the same everywhere, and the other cores are left to other workers. Bounded memory."""
    context = stream.codec_context
    context.thread_count = 1
    context.options = {"max_pixels": str(min(max(16 * context.width * context.height, 2**20), _DECODED_PIXELS))}


def probe(path: Path, limits: Limits) -> Source:
    """What is in the film, seen by its headers and its first frame; `BadInput` says what is wrong with it."""
    size_bytes = path.stat().st_size
    check_bytes(size_bytes, limits)
    with open_film(path) as container:
        stream = picture(container)
        duration_s = _duration_s(container, stream)
        _check(stream, duration_s, limits)
        frame = _first_frame(container, stream)
        check_size(frame.width, frame.height, limits)
        return _source(container, stream, frame, size_bytes, duration_s)


def _check(stream: VideoStream, duration_s: float, limits: Limits) -> None:
    if stream.codec_context is None:
        raise BadInput("the pictures are in a codec that is not known here")
    if not stream.time_base:
        raise BadInput("the film says no unit of time")
    if stream.codec_context.width:  # else only the first frame says
        check_size(stream.codec_context.width, stream.codec_context.height, limits)
    if duration_s > limits.max_seconds:
        raise BadInput(f"the film lasts {duration_s:,.0f} s, at most {limits.max_seconds:,.0f} s are taken")


def _duration_s(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration and stream.time_base and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    return max(container.duration or 0, 0) / 1_000_000


def _first_frame(container: InputContainer, stream: VideoStream) -> VideoFrame:
    prepare_decoder(stream)
    packets = (packet for packet in container.demux(stream) if packet.size)  # one without data would end it
    for number, packet in enumerate(chain(packets, [None])):
        try:
            frames = stream.decode(packet)
        except av.FFmpegError:
            frames = []  # a cut film may begin with packets whose key frame was left behind
        if frames:
            return frames[0]
        if number > _PACKETS_TO_FIRST_FRAME:
            break
    raise BadInput(f"the film has no frame that can be decoded ({stream.codec_context.name})")


def _source(
    container: InputContainer, stream: VideoStream, frame: VideoFrame, size_bytes: int, duration_s: float
) -> Source:
    context = stream.codec_context
    matrix = _display_matrix(frame)
    # Bare streams have no times to take a mean of; the rate is in their own header, if anywhere.
    bare = container.format.name in ("h264", "hevc")
    rate = (stream.guessed_rate if bare else stream.average_rate) or stream.guessed_rate or Fraction(25)
    rate = min(max(rate, _SLOWEST), _FASTEST).limit_denominator(10_000)
    return Source(
        format=_format(container),
        size_bytes=size_bytes,
        stream=stream.index,
        codec=context.codec.canonical_name,
        width=frame.width,
        height=frame.height,
        pixel_format=frame.format.name,
        bits=max(component.bits for component in frame.format.components),
        time_base=_ratio(stream.time_base),
        rate=_ratio(rate),
        duration_s=duration_s,
        sample_aspect=_ratio(stream.sample_aspect_ratio, (1, 1)),
        display_matrix=matrix,
        rotation=int(frame.rotation) if matrix else 0,
        colour=Colour(
            primaries=int(frame.color_primaries),
            transfer=int(frame.color_trc),
            matrix=int(frame.colorspace),
            range=_range(frame),
        ),
        interlaced=frame.interlaced_frame,
        tracks=[_track(each) for each in container.streams if each.index != stream.index],
        chapters=len(container.chapters()),
    )


def _format(container: InputContainer) -> Any:
    name = container.format.name
    if name.startswith("mov,"):
        return "mov" if container.metadata.get("major_brand", "qt").strip() == "qt" else "mp4"
    if name == "matroska,webm" and Path(container.name).suffix.lower() == ".webm":
        return "webm"
    return _FORMATS.get(name, "other")


def _range(frame: VideoFrame) -> int:
    if frame.format.name.startswith("yuvj"):
        return 2
    return int(frame.color_range)


def _display_matrix(frame: VideoFrame) -> tuple[int, ...]:
    side_data: Any = frame.side_data
    if Type.DISPLAYMATRIX not in side_data:
        return ()
    numbers = np.frombuffer(bytes(side_data[Type.DISPLAYMATRIX]), dtype="<i4")
    return tuple(int(number) for number in numbers[:9])


def _track(stream: Stream) -> Track:
    kind: Any = stream.type
    if kind == "video":
        kind = "cover" if stream.disposition & _COVER else "video"
    elif kind not in ("audio", "subtitle", "attachment"):
        kind = "data"
    codec = (
        stream.codec_context.codec.canonical_name
        if stream.codec_context
        else getattr(stream, "name", None) or "unknown"
    )
    return Track(index=stream.index, kind=kind, codec=codec, language=stream.language or "")


def _ratio(value: Fraction | None, otherwise: Ratio = (0, 1)) -> Ratio:
    return (value.numerator, value.denominator) if value else otherwise


def why(error: Exception) -> str:
    """What FFmpeg says, without the names of files."""
    return str(getattr(error, "strerror", None) or error)
