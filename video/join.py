"""The segments of a film as one file, with the sound and all else that its container can hold. Nothing is re-encoded."""

import heapq
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import msgspec
from av.container import InputContainer, OutputContainer
from av.stream import Discard, Stream
from av.video.codeccontext import VideoCodecContext

from models.contracts.film import FilmPlan
from models.errors import BadInput
from video.encode import configure
from video.probe import open_film
from video.segment import check_set, plan_digest, read_segment

_MUXERS: Final = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"}
_OPTIONS: Final = {"mp4": {"movflags": "+faststart"}, "mov": {"movflags": "+faststart"}, "mkv": {}}
# Tags that say how the source's file was made, not what the film is.
_NOT_COPIED: Final = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    frames: int
    packets: int
    """Copied packets of sound, subtitles and covers."""
    size_bytes: int


def join_film(source_path: Path, plan: FilmPlan, segments: Sequence[Path], out: Path) -> Joined:
    """Write the film to `out`, which appears whole or not at all; an older file of the name is replaced.

    `segments`: the stored segments in the order of the plan. One segment is in memory at a time. `BadInput`: a
    segment is missing, of another plan, or has other headers or frames. Repeating the call writes the same film.
    """
    check_set(segments, plan)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        with open_film(source_path) as source, _output(partial, plan) as output:
            frames, packets = _write(source, output, plan, segments)
        size_bytes = partial.stat().st_size
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return Joined(frames=frames, packets=packets, size_bytes=size_bytes)


def _output(path: Path, plan: FilmPlan) -> OutputContainer:
    return av.open(f"file:{path.absolute()}", "w", format=_MUXERS[plan.container], options=_OPTIONS[plan.container])


def _write(
    source: InputContainer, output: OutputContainer, plan: FilmPlan, segments: Sequence[Path]
) -> tuple[int, int]:
    picture = _add_picture(output, plan)
    copies = {index: _add_copy(output, source.streams[index]) for index in plan.keep}
    _copy_tags(source, output, plan, picture)
    output.start_encoding()
    header = bytes(picture.codec_context.extradata or b"")
    counts = {True: 0, False: 0}
    own = _picture_packets(plan, segments, picture, header)
    for _, is_picture, packet in heapq.merge(own, _copied_packets(source, copies), key=lambda each: each[0]):
        output.mux_one(packet)
        counts[is_picture] += 1
    return counts[True], counts[False]


def _add_picture(output: OutputContainer, plan: FilmPlan) -> Stream:
    encoder = plan.encoder
    stream = output.add_stream(encoder.codec, rate=Fraction(*encoder.rate))
    context = stream.codec_context
    assert isinstance(context, VideoCodecContext)
    configure(context, encoder)
    stream.time_base = Fraction(*encoder.time_base)
    if plan.source.display_matrix:
        stream.set_display_matrix(plan.source.display_matrix)
    return stream


def _add_copy(output: OutputContainer, stream: Stream) -> Stream:
    copy = output.add_stream_from_template(stream)
    copy.metadata.update(_tags(stream.metadata))
    copy.disposition = stream.disposition
    return copy


def _copy_tags(source: InputContainer, output: OutputContainer, plan: FilmPlan, picture: Stream) -> None:
    output.metadata.update(_tags(source.metadata))
    original = source.streams[plan.source.stream]
    picture.metadata.update(_tags(original.metadata))
    picture.disposition = original.disposition
    if source.chapters():
        output.set_chapters(source.chapters())


def _tags(metadata: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in metadata.items() if name.lower() not in _NOT_COPIED}


def _picture_packets(
    plan: FilmPlan, segments: Sequence[Path], stream: Stream, header: bytes
) -> Iterator[tuple[Fraction, bool, av.Packet]]:
    """Packets of all segments with their times in seconds."""
    digest = plan_digest(plan)
    unit = Fraction(*plan.encoder.time_base)
    for index, path in enumerate(segments):
        segment = read_segment(path, plan, index, digest)
        if segment.header != header:
            raise BadInput(
                f"segment {index} has other encoder headers than this machine makes: another version of x264?"
            )
        ends = [*segment.times[1:], plan.segments[index].stop]
        keys = set(segment.keys)
        for number, (time, end, data) in enumerate(zip(segment.times, ends, segment.packets, strict=True)):
            packet = av.Packet(data)
            packet.stream = stream
            packet.time_base = unit
            packet.pts = packet.dts = time
            packet.duration = end - time
            packet.is_keyframe = number in keys
            yield time * unit, True, packet


def _copied_packets(source: InputContainer, copies: dict[int, Stream]) -> Iterator[tuple[Fraction, bool, av.Packet]]:
    """Packets of the copied streams, in the order of the source's file, with the seconds until which they can wait."""
    if not copies:
        return
    for stream in source.streams:
        if stream.index not in copies:
            stream.discard = Discard.all
    reached = Fraction(-(10**9))
    for packet in source.demux([source.streams[index] for index in copies]):
        if packet.dts is None and packet.pts is None:
            continue  # the end of a stream
        stamp: Any = packet.dts if packet.dts is not None else packet.pts
        reached = max(reached, stamp * packet.time_base)
        packet.stream = copies[packet.stream.index]
        yield reached, False, packet
