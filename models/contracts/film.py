"""Films: how one is to be stylised, what is in its file, and the plan by which any worker makes its part.

Times are integers in the time base of the source's video stream, unless a name says otherwise. Colour numbers are
those of ITU-T H.273, as H.264 and FFmpeg use them; 2 is "not said" (of a range: 0).
"""

from typing import Annotated, Literal

import msgspec

Ratio = tuple[int, int]
"""Numerator and denominator."""


class FilmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a film is to look."""

    style: str
    quality: Literal["fast", "fine"] = "fine"
    scale: Annotated[float, msgspec.Meta(ge=0.25, le=1)] = 1.0
    """The share of width and height at which the network works; the size of the result does not depend on it."""
    strength: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    """1: the styled picture; 0: the source; between: a blend."""
    size: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")] | None = None
    """Size of the result as "WIDTHxHEIGHT"; None: the source's."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a film may be at most."""

    max_pixels: int = 4096 * 2304
    """Width times height of a frame, of the source and of the result."""
    max_side: int = 8192
    max_seconds: float = 3 * 3600.0
    max_bytes: int = 16 * 2**30
    max_frames: int = 400_000


class Colour(msgspec.Struct, frozen=True, kw_only=True):
    """Colour tags of a video stream."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0
    """1: limited (16..235), 2: full."""


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of the source other than its picture."""

    index: int
    kind: Literal["audio", "subtitle", "cover", "attachment", "video", "data"]
    """`cover`: a picture that goes with the film; `video`: a further picture stream, which is not stylised."""
    codec: str
    language: str = ""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a file."""

    format: Literal["mp4", "mov", "mkv", "webm", "avi", "ts", "other"]
    size_bytes: int
    stream: int
    """Index of the video stream that is stylised."""
    codec: str
    width: int
    height: int
    """Size of the coded picture; a rotation is not applied."""
    pixel_format: str
    bits: int
    """Per colour sample."""
    time_base: Ratio
    rate: Ratio
    """Mean frames per second, for people; times do not follow from it."""
    duration_s: float
    """As the file says; 0 if it does not."""
    sample_aspect: Ratio = (1, 1)
    display_matrix: tuple[int, ...] = ()
    """Nine numbers of the rotation or mirroring that players apply; empty: none."""
    rotation: int = 0
    """Counterclockwise degrees, for people."""
    colour: Colour = Colour()
    interlaced: bool = False
    tracks: list[Track] = []
    chapters: int = 0


class Encoder(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides the bytes of an encoded frame, and the headers of the stream."""

    codec: str = "libx264"
    options: dict[str, str]
    width: int
    height: int
    pixel_format: str
    time_base: Ratio
    rate: Ratio
    gop: int
    sample_aspect: Ratio
    colour: Colour
    """Tags to write."""
    matrix: int
    """By which RGB becomes YUV: `colour.matrix`, or the guess where that is not said."""


class Seek(msgspec.Struct, frozen=True, kw_only=True):
    """A key packet from which frames can be decoded."""

    pts: int | None
    """Its time stamp; where frames are known by packet numbers, its number."""
    dts: int | None


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The frames whose time is in [start, stop)."""

    start: int
    stop: int
    first: int
    """Number of the first frame in the film, from 0."""
    times: list[int]
    """Of each frame, ascending."""
    mark: int
    """Of the first frame; what marks are says `FilmPlan.marks`."""
    seek: Seek | None = None
    """Where decoding may start; None: at the start of the film."""

    @property
    def frames(self) -> int:
        """How many frames a worker must find."""
        return len(self.times)


class FilmPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that workers must agree on to make one film. Equal for equal file, options and version."""

    version: int = 1
    options: FilmOptions
    style_version: str = ""
    """The version of the network, fixed for the job by whoever starts it."""
    source: Source
    marks: Literal["pts", "dts", "count"] = "pts"
    """By what a decoded frame is known again, wherever decoding began: the presentation or decode time stamp of its
    packet, or the number of the packet in the film, for which reading must begin at the start."""
    container: Literal["mp4", "mov", "mkv"]
    ending: str
    """Of the file name, with the dot."""
    encoder: Encoder
    keep: list[int]
    """Indexes of the source's streams that are copied."""
    segments: list[Segment]
    notes: list[str] = []
    """What a person should know: what is changed, what is not kept, what was guessed."""

    @property
    def frames(self) -> int:
        """Frames of the film."""
        return sum(segment.frames for segment in self.segments)

    @property
    def seconds(self) -> float:
        """From the first frame to the end of the last."""
        numerator, denominator = self.source.time_base
        return (self.segments[-1].stop - self.segments[0].start) * numerator / denominator
