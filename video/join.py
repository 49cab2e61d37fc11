"""The segments of a film as one file, with the sound and what else its container can hold; nothing is re-encoded."""

from __future__ import annotations  # Packet[...] is a type for the checker alone

import errno
import heapq
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import msgspec
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from models.contracts.film import FilmPlan
from models.errors import BadInput, TryLater
from video.encode import configure
from video.holds import MUXERS
from video.probe import open_film, why
from video.segment import check_set, plan_digest, read_segment
from video.stamps import TrackClock

# Sound that begins before 0 (the lead-in of an encoder) stays there, and the picture where it is.
_OPTIONS: Final = {
    "mp4": {"movflags": "+faststart"},
    "mov": {"movflags": "+faststart"},
    "mkv": {"avoid_negative_ts": "disabled"},
}
_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_LEAD_IN_S: Final = 1
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
    segment is missing, of another plan, or has other headers or frames. `TryLater`: the disk is full or fails.
    Repeating the call writes the same film.
    """
    check_set(segments, plan)
    partial = out.with_name(f".penstock-{os.getpid()}.partial")  # the film's own name may be as long as names can be
    try:
        partial.touch()  # where nothing can be written, that is said, and not that the film is damaged
        with open_film(source_path) as source, _output(partial, plan) as output:
            frames, packets = _write(source, output, plan, segments)
        size_bytes = partial.stat().st_size
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return Joined(frames=frames, packets=packets, size_bytes=size_bytes)


def _output(path: Path, plan: FilmPlan) -> OutputContainer:
    return av.open(f"file:{path.absolute()}", "w", format=MUXERS[plan.container], options=_OPTIONS[plan.container])


def _write(
    source: InputContainer, output: OutputContainer, plan: FilmPlan, segments: Sequence[Path]
) -> tuple[int, int]:
    picture = _add_picture(output, plan)
    covers = {track.index for track in plan.source.tracks if track.kind == "cover"} & set(plan.keep)
    if plan.container == "mkv":
        for index in covers:
            _attach_cover(output, source.streams[index])
    else:
        covers = set()
    copies = {index: _add_copy(output, source.streams[index]) for index in plan.keep if index not in covers}
    _copy_tags(source, output, plan, picture)
    output.start_encoding()
    header = bytes(picture.codec_context.extradata or b"")
    counts = {True: 0, False: 0}
    own = _picture_packets(plan, segments, picture, header)
    for _, is_picture, packet in heapq.merge(own, _copied_packets(source, copies, plan), key=lambda each: each[0]):
        _mux(output, packet)
        counts[is_picture] += 1
    return counts[True], counts[False]


def _mux(output: OutputContainer, packet: Packet[Stream]) -> None:
    try:
        output.mux_one(packet)
    except av.FFmpegError as error:
        if getattr(error, "errno", None) in _DISK:
            raise TryLater(f"the film cannot be written: {why(error)}") from error
        # Writers keep packets back, so this one need not be the one at fault.
        at_s = float((packet.dts or 0) * packet.time_base)
        raise BadInput(
            f"what is to be copied by {at_s:.2f} s cannot be written as {output.format.name}: {why(error)}"
        ) from error


def _add_picture(output: OutputContainer, plan: FilmPlan) -> Stream:
    encoder = plan.encoder
    stream = output.add_stream(encoder.codec, rate=Fraction(*encoder.rate))
    assert isinstance(stream, VideoStream)
    configure(stream.codec_context, encoder)
    stream.time_base = Fraction(*encoder.time_base)
    if plan.source.display_matrix:
        stream.set_display_matrix(plan.source.display_matrix)
    return stream


def _add_copy(output: OutputContainer, stream: Stream) -> Stream:
    copy = output.add_stream_from_template(stream, opaque=True)
    copy.metadata.update(_tags(stream.metadata))
    copy.disposition = stream.disposition
    return copy


def _attach_cover(output: OutputContainer, stream: Stream) -> None:
    """Matroska holds covers as attached files."""
    with open_film(Path(stream.container.name.removeprefix("file:"))) as container:
        data = next(
            (bytes(packet) for packet in container.demux(container.streams[stream.index]) if packet.size), b""
        )
    kind = {"mjpeg": "jpeg"}.get(stream.codec_context.name, stream.codec_context.name)
    output.add_attachment(f"cover.{'jpg' if kind == 'jpeg' else kind}", f"image/{kind}", data)


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
) -> Iterator[tuple[Fraction, bool, Packet[Stream]]]:
    """Packets of all segments with their times in seconds."""
    digest = plan_digest(plan)
    unit = Fraction(*plan.encoder.time_base)
    for index, path in enumerate(segments):
        segment = read_segment(path, plan, index, digest)
        if segment.header != header:
            raise BadInput(f"segment {index} has other headers than the encoder here makes: another version of x264?")
        ends = [*segment.times[1:], plan.segments[index].stop]
        keys = set(segment.keys)
        for number, (time, end, data) in enumerate(zip(segment.times, ends, segment.packets, strict=True)):
            packet: Packet[Stream] = Packet(data)
            packet.stream = stream
            packet.time_base = unit
            packet.pts = packet.dts = time
            packet.duration = end - time
            packet.is_keyframe = number in keys
            yield time * unit, True, packet


def _is_gap(packet: Packet[Stream]) -> bool:
    """An empty text, by which MP4 fills the time between two; its writer adds them itself."""
    return packet.size == 2 and packet.stream.type == "subtitle" and packet.stream.name == "mov_text"


def _copied_packets(
    source: InputContainer, copies: dict[int, Stream], plan: FilmPlan
) -> Iterator[tuple[Fraction, bool, Packet[Stream]]]:
    """Packets of the copied streams, in the order of the source's file, with times in seconds that never go back."""
    if not copies:
        return
    for stream in source.streams:
        if stream.index not in copies:
            stream.discard = Discard.all
    clocks: dict[int, TrackClock] = {}
    begun: set[int] = set()
    reached = end = Fraction(-(10**9))
    for packet in source.demux([source.streams[index] for index in copies]):
        if not packet.size or _is_gap(packet) or _is_cut(packet, packet.stream_index in begun):
            continue
        index, unit = packet.stream_index, packet.time_base
        if not packet.is_discard:
            begun.add(index)
        if index not in clocks:
            clocks[index] = TrackClock(unit, apart=plan.container != "mkv")
        stamp = packet.dts if packet.dts is not None else packet.pts
        duration = packet.duration or 0
        moved = clocks[index].shift(stamp, duration, end)
        packet.dts = (stamp or 0) + moved
        packet.pts = packet.dts if packet.pts is None else packet.pts + moved
        reached = max(reached, packet.dts * unit)
        end = max(end, (packet.dts + duration) * unit)
        packet.stream = copies[index]
        yield reached, False, packet


def _is_cut(packet: Packet[Stream], begun: bool) -> bool:
    """Whether an edit list leaves the packet out; those shortly before the first serve as a decoder's lead-in."""
    return packet.is_discard and (begun or packet.pts is None or packet.pts * packet.time_base < -_LEAD_IN_S)
