"""The packets of a film's picture: which frames they make, at what times, and from where those can be decoded."""

from __future__ import annotations  # Packet[...] is a type for the checker alone

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, NamedTuple

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from models.contracts.film import Limits, Seek, Source
from models.errors import BadInput
from video.probe import open_film, picture, prepare_decoder
from video.stamps import JUMP_S, ascending, runs

Marks = Literal["pts", "dts", "count"]

# Frames decoded at the start of every film, to see which packets there make none.
_HEAD_FRAMES: Final = 32
# By so many frames at most a codec shows one later than it is stored.
_REORDERED: Final = 16


class _Packet(NamedTuple):
    pts: int | None
    dts: int | None
    key: bool
    duration: int


class Timeline(NamedTuple):
    """The frames of a film, in the order in which they are shown."""

    marks_by: Marks
    times: list[int]
    marks: list[int]
    starts: list[Seek | None]
    """For each frame the latest key packet from which it, and all that follow, can be decoded."""
    tail: int
    """How long the last frame is shown."""
    notes: list[str]


def read_timeline(path: Path, source: Source, limits: Limits) -> Timeline:
    """The timeline of the film, from its packets where they say all, else by decoding it once."""
    packets, shown = _read_packets(path, source, limits)
    if not shown:
        raise BadInput("the film has no frames")
    trusted = source.format not in ("avi", "ts", "other")
    stamps = [packets[number].pts for number in shown]
    if not trusted or None in stamps or len(set(stamps)) < len(stamps):
        return _by_decoding(path, source, packets)
    shown.sort(key=lambda number: packets[number].pts or 0)
    times = [packets[number].pts or 0 for number in shown]
    return _without_broken_head(path, _timeline("pts", packets, shown, times, []))


def _read_packets(path: Path, source: Source, limits: Limits) -> tuple[list[_Packet], list[int]]:
    """All packets in their order, and the numbers of those that make a frame that is shown."""
    packets: list[_Packet] = []
    shown = []
    with open_film(path) as container:
        stream = picture(container)
        for packet in packets_of(container, stream):
            if packet is None:
                break
            if len(packets) >= limits.max_frames:
                raise BadInput(
                    f"the film has more than {limits.max_frames:,} frames, which is the most that is taken"
                )
            if not packet.is_discard and _is_shown(source.codec, packet):
                shown.append(len(packets))
            packets.append(_Packet(packet.pts, packet.dts, packet.is_keyframe, packet.duration or 0))
    return packets, shown


def _is_shown(codec: str, packet: Packet[VideoStream]) -> bool:
    """Whether a packet makes a frame. VP8 and VP9 have packets that only serve as a reference."""
    if codec == "vp8":
        return bool(bytes(packet)[0] & 0x10)
    if codec == "vp9":
        data = bytes(packet)
        if data[-1] & 0xE0 == 0xC0:  # a superframe: several frames, of which one is shown
            return True
        profile = (data[0] >> 5 & 1) | (data[0] >> 4 & 1) << 1
        bits = data[0] >> 1 if profile < 3 else data[0]
        show_existing, show = bits >> 2 & 1, bits & 1
        return bool(show_existing or show)
    return True


def _timeline(
    marks_by: Marks, packets: list[_Packet], shown: list[int], times: list[int], notes: list[str]
) -> Timeline:
    """`shown`: packet numbers in the order in which their frames are shown, at `times`."""
    if marks_by == "pts":
        marks = times
    else:
        marks = [packets[number].dts or 0 for number in shown] if marks_by == "dts" else list(shown)
    tail = packets[shown[-1]].duration or _usual_step(times)
    # A decoder that makes two frames of one packet leaves no way to tell them apart but to count from the start.
    starts: list[Seek | None] = [None] * len(shown)
    if len(set(shown)) == len(shown):
        starts = _starts(packets, shown, marks_by)
    return Timeline(marks_by, times, marks, starts, max(tail, 1), notes)


def _usual_step(times: list[int]) -> int:
    steps = sorted(later - earlier for earlier, later in pairwise(times))
    return steps[len(steps) // 2] if steps else 1


def _starts(packets: list[_Packet], shown: list[int], marks_by: Marks) -> list[Seek | None]:
    """For each shown frame where to start, so that no frame after a start needs a packet before it.

    A key packet serves frames from its own on: those shown before it (leading pictures of an open GOP) may refer to
    what lies further ahead in the file. And all frames from there on must come after it in the file.
    """
    earliest = list(shown)  # of the frames from here on, the first packet in the file
    for at in range(len(shown) - 2, -1, -1):
        earliest[at] = min(earliest[at], earliest[at + 1])
    starts: list[Seek | None] = []
    latest: Seek | None = None
    for at, number in enumerate(shown):
        packet = packets[number]
        if packet.key and earliest[at] == number and number > 0:
            counted = marks_by == "count"
            latest = Seek(pts=number if counted else packet.pts, dts=None if counted else packet.dts)
        starts.append(latest)
    return starts


def _without_broken_head(path: Path, timeline: Timeline) -> Timeline:
    """The timeline without frames at its start that do not decode, as films have that were cut out of others."""
    seen: set[int] = set()
    for frame in _decoded(path, "pts"):
        seen.add(frame.pts or 0)
        if len(seen) >= _HEAD_FRAMES:
            break
    last = max(seen, default=0)
    good = [at for at, mark in enumerate(timeline.marks) if mark in seen or mark > last]
    if not good:
        raise BadInput("the film has no frame that can be decoded")
    lost = len(timeline.marks) - len(good)
    if not lost:
        return timeline
    return timeline._replace(
        times=[timeline.times[at] for at in good],
        marks=[timeline.marks[at] for at in good],
        starts=[timeline.starts[at] for at in good],
        notes=[f"{lost} frames at the start refer to what was cut off and are left out"],
    )


def _decoded(path: Path, marks_by: Marks) -> Iterator[VideoFrame]:
    """Every frame in the order in which the decoder shows them, from the start of the film; its mark is its `pts`."""
    with open_film(path) as container:
        stream = picture(container)
        prepare_decoder(stream)
        for number, packet in enumerate(packets_of(container, stream)):
            if packet is not None:
                set_mark(packet, marks_by, number)
            try:
                frames = stream.decode(packet)
            except av.FFmpegError:
                continue  # as players do; whoever needs the frame misses it
            yield from (frame for frame in frames if frame.pts is not None)


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream] | None]:
    """The packets of a stream from where the container is; None at the end, which makes a decoder give up its last.

    Packets without data are left out: a decoder would take one for the end. MPEG-4 films of old have two frames in a
    packet and then an empty one ("packed"): that a decoder knows from the start of the film only, so they are parted.
    """
    packets = (packet for packet in container.demux(stream) if packet.size)
    if stream.codec_context.name == "mpeg4":
        unpack = BitStreamFilterContext("mpeg4_unpack_bframes", stream)
        for packet in packets:
            yield from unpack.filter(packet)
    else:
        yield from packets
    yield None


def set_mark(packet: Packet[VideoStream], marks_by: Marks, number: int) -> None:
    """Put the mark where the decoder carries it from a packet to its frame: into the presentation time stamp."""
    if marks_by == "dts":
        packet.pts = packet.dts
    elif marks_by == "count":
        packet.pts = number


def _by_decoding(path: Path, source: Source, packets: list[_Packet]) -> Timeline:
    """The timeline as decoding shows it: for films whose packets do not say, or may not say rightly."""
    frames = [(frame.pts, (frame.width, frame.height)) for frame in _decoded(path, "count")]
    shown = [number for number, _ in frames if number is not None]
    if not shown:
        raise BadInput("the film has no frame that can be decoded")
    notes = ["the file does not say reliably when its frames are shown: it was decoded once to plan it"]
    if len({size for _, size in frames}) > 1:
        notes.append(f"the picture changes its size: all is scaled to {source.width}x{source.height}")
    pts = [packets[number].pts for number in shown]
    known = [stamp for stamp in pts if stamp is not None]
    if len(known) == len(shown) and all(a < b for a, b in pairwise(known)):
        return _timeline("pts", packets, shown, known, notes)
    times = _times(source, pts, [packets[number].dts for number in shown], notes)
    dts = [packet.dts for packet in packets]
    if None not in dts and len(set(dts)) == len(dts) and len(set(shown)) == len(shown):
        return _timeline("dts", packets, shown, times, notes)
    notes.append("its packets carry no usable time stamps: for every segment the film is read from its start")
    return _timeline("count", packets, shown, times, notes)


def _times(source: Source, pts: list[int | None], dts: list[int | None], notes: list[str]) -> list[int]:
    """Of frames, in the order in which they are shown; by the mean rate if the packets say nothing."""
    unit, rate = Fraction(*source.time_base), Fraction(*source.rate)
    step = 1 / (rate * unit)
    jump = max(JUMP_S / float(unit), _REORDERED * float(step))
    for stamps in (pts, dts):
        known = [stamp for stamp in stamps if stamp is not None]
        if len(known) == len(stamps):
            if (anew := len(runs(known, jump)) - 1) > 0:
                notes.append(f"its times begin anew {anew} times: each time the film goes on where it was")
            return ascending(known, max(round(step), 1), jump)
    notes.append(f"it says no times: {float(rate):g} frames a second are taken")
    return [round(number * step) for number in range(len(pts))]
