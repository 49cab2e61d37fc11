"""The plan of a film: what every worker must know, so that all parts fit whoever makes them."""

from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

from models.contracts.film import Encoder, FilmOptions, FilmPlan, Limits, Ratio, Seek, Segment, Source
from models.errors import BadInput
from models.filmlimits import check_size, size_of
from video.holds import refused
from video.packets import Timeline, read_timeline
from video.probe import probe

SEGMENT_SECONDS: Final = 4.0
SEGMENT_FRAMES: Final = 120

_GOP_SECONDS: Final = 2
# Films as encoders make them, with a key frame every 2 to 10 s, come to 1 to 2.5.
_MANY_TIMES: Final = 5
# No B-frames: times follow from order, and segments meet without a gap. No macroblock tree: with it x264 reads what
# it did not write for some sizes, and now and then makes other bytes of the same frames. CRF 21 without it is to
# stylised pictures what 22 was with it.
_X264: Final = {"preset": "veryfast", "crf": "21", "bf": "0", "threads": "1", "mbtree": "0"}

_CHAPTERS: Final = "bin_data"
"""The track in which MP4 keeps the titles of chapters; it is written anew."""


def plan_film(
    path: Path,
    options: FilmOptions,
    limits: Limits,
    *,
    segment_seconds: float = SEGMENT_SECONDS,
    segment_frames: int = SEGMENT_FRAMES,
) -> FilmPlan:
    """The plan of the film in `path`; the same file and arguments give the same plan.

    No segment lasts longer than `segment_seconds` or has more than `segment_frames` frames. A file that cannot be
    made into a film, or is beyond `limits`, is `BadInput` with the reason.
    """
    source = probe(path, limits)
    timeline = read_timeline(path, source, limits)
    _check_length(source, timeline, limits)
    container, dropped = container_of(path, source)
    segments = _segments(source, timeline, segment_seconds, segment_frames)
    return FilmPlan(
        options=options,
        source=source,
        marks=timeline.marks_by,
        container=container,
        ending=f".{container}",
        encoder=_encoder(source, options, limits),
        keep=[track.index for track in source.tracks if track.index not in dropped and track.kind in _COPIED],
        segments=segments,
        notes=timeline.notes + _far_keys(timeline, segments) + _notes(source, container, dropped),
    )


_COPIED: Final = ("audio", "subtitle", "cover", "attachment")


def _check_length(source: Source, timeline: Timeline, limits: Limits) -> None:
    seconds = float((timeline.times[-1] + timeline.tail - timeline.times[0]) * Fraction(*source.time_base))
    if seconds > limits.max_seconds:
        raise BadInput(f"the film lasts {seconds:,.0f} s, at most {limits.max_seconds:,.0f} s are taken")


def _segments(source: Source, timeline: Timeline, seconds: float, frames: int) -> list[Segment]:
    longest = max(seconds / float(Fraction(*source.time_base)), 1.0)
    times = timeline.times
    stops = [*times[1:], times[-1] + timeline.tail]
    begins = [0]
    for at in range(1, len(times)):
        if at - begins[-1] >= frames or stops[at] - times[begins[-1]] > longest:
            begins.append(at)
    ends = [*begins[1:], len(times)]
    return [
        Segment(
            start=times[begin],
            stop=stops[end - 1],
            first=begin,
            times=times[begin:end],
            mark=timeline.marks[begin],
            seek=timeline.starts[begin],
        )
        for begin, end in zip(begins, ends, strict=True)
    ]


def _far_keys(timeline: Timeline, segments: list[Segment]) -> list[str]:
    """A note where decoding up to segments, from the key packets before them, is what takes the time."""
    keys: dict[Seek | None, int] = {None: 0}
    for number, start in enumerate(timeline.starts):
        keys.setdefault(start, number)
    before = sum(segment.first - keys[segment.seek] for segment in segments)
    times = 1 + before / len(timeline.times)
    if times < _MANY_TIMES:
        return []
    return [f"its key frames are far apart: to make all segments, {times:.0f} times its frames are decoded"]


def _encoder(source: Source, options: FilmOptions, limits: Limits) -> Encoder:
    width, height = source.width, source.height
    if options.size:
        width, height = size_of(options.size)
        check_size(width, height, limits, what="size")
    rate = Fraction(*source.rate)
    colour = source.colour
    # Not said: as players guess it, by size. RGB sources (0) have none.
    matrix = colour.matrix if colour.matrix not in (0, 2) else (1 if source.height >= 720 else 6)
    return Encoder(
        options=_X264,
        width=width,
        height=height,
        pixel_format="yuv420p" if width % 2 == height % 2 == 0 else "yuv444p",
        time_base=source.time_base,
        rate=(rate.numerator, rate.denominator),
        gop=max(round(rate * _GOP_SECONDS), 1),
        sample_aspect=_sample_aspect(source, width, height),
        colour=colour
        if colour.matrix != 0
        else type(colour)(primaries=colour.primaries, transfer=colour.transfer, matrix=matrix, range=1),
        matrix=matrix,
    )


def _sample_aspect(source: Source, width: int, height: int) -> Ratio:
    """So that the picture is shown in the same shape whatever its size."""
    aspect = Fraction(*source.sample_aspect) * Fraction(source.width * height, source.height * width)
    if not Fraction(1, 100) < aspect < 100:
        return 1, 1  # a mistake of the file
    aspect = aspect.limit_denominator(1000)
    return aspect.numerator, aspect.denominator


def container_of(path: Path, source: Source) -> tuple[Literal["mp4", "mov", "mkv"], set[int]]:
    """The container of the result, and the tracks that it cannot hold."""
    lost = refused(path, "mkv")
    if source.format in ("mp4", "mov"):
        own = refused(path, source.format)
        if own <= lost:  # what Matroska cannot hold either is no reason for it
            return source.format, own
    return "mkv", lost


def _notes(source: Source, container: str, dropped: set[int]) -> list[str]:
    notes = []
    if source.format != container:
        notes.append(f"the result is a Matroska file: {source.format} cannot hold it")
    if source.bits > 8:
        notes.append(f"{source.bits} bits a sample become 8")
    if source.colour.transfer in (16, 18):
        notes.append("high dynamic range (PQ or HLG) is kept by its tags, not mapped")
    if source.interlaced:
        notes.append("interlaced frames are stylised as whole frames and come out progressive")
    if source.rotation:
        notes.append(f"the picture is turned by {source.rotation} degrees when shown; the turn is kept")
    if source.colour.matrix == 2:
        notes.append("the film does not say its colour matrix: the one usual for its size is taken, both ways")
    for track in source.tracks:
        if source.chapters and track.codec == _CHAPTERS:
            continue
        if track.index in dropped or track.kind not in _COPIED:
            notes.append(f"stream {track.index} ({track.kind}, {track.codec}) is not kept")
    return notes
