"""The one encoder of a film: equal parameters, and so equal headers, in every segment and in the joined file."""

from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt
from av.codec.context import CodecContext, Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from models.contracts.film import Encoder
from models.errors import ConfigurationError
from video.colour import TO_YUV, swscale_matrix

_FULL: Final = 2


def configure(context: VideoCodecContext, encoder: Encoder) -> None:
    """Set everything that decides headers and bytes."""
    context.width = encoder.width
    context.height = encoder.height
    context.pix_fmt = encoder.pixel_format
    context.time_base = Fraction(*encoder.time_base)
    context.framerate = Fraction(*encoder.rate)
    context.gop_size = encoder.gop
    context.sample_aspect_ratio = Fraction(*encoder.sample_aspect)
    context.color_primaries = encoder.colour.primaries
    context.color_trc = encoder.colour.transfer
    context.colorspace = encoder.colour.matrix
    context.color_range = encoder.colour.range
    context.thread_count = 1
    context.flags |= Flags.global_header
    context.options = dict(encoder.options)


class FilmEncoder:
    """Encodes the frames of one segment, from its first to its last. Use in one thread."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        try:
            context = CodecContext.create(encoder.codec, "w")
        except ValueError as error:
            raise ConfigurationError(f"this FFmpeg has no encoder {encoder.codec}") from error
        assert isinstance(context, VideoCodecContext)
        configure(context, encoder)
        context.open()
        self._context = context
        self._reformatter = VideoReformatter()
        self._range = _FULL if encoder.colour.range == _FULL else 1

    @property
    def header(self) -> bytes:
        """Parameter sets of the stream, equal for every segment of a plan."""
        return bytes(self._context.extradata or b"")

    def encode(self, picture: npt.NDArray[np.uint8], time: int) -> list[tuple[int, bool, bytes]]:
        """Packets that are ready: time, whether decoding can begin there, data. `picture`: uint8, (h, w, 3), RGB."""
        rgb = VideoFrame.from_numpy_buffer(picture, format="rgb24")
        frame = self._reformatter.reformat(
            rgb,
            format=self._encoder.pixel_format,
            dst_colorspace=swscale_matrix(self._encoder.matrix),
            dst_color_range=self._range,
            src_color_range=_FULL,
            interpolation=TO_YUV,
            threads=1,
        )
        frame.pts = time
        frame.time_base = Fraction(*self._encoder.time_base)
        return self._packets(frame)

    def finish(self) -> list[tuple[int, bool, bytes]]:
        """The last packets; nothing can be encoded after that."""
        return self._packets(None)

    def _packets(self, frame: VideoFrame | None) -> list[tuple[int, bool, bytes]]:
        return [(packet.pts or 0, packet.is_keyframe, bytes(packet)) for packet in self._context.encode(frame)]
