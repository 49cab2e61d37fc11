"""Small films, networks whose results are known, and what is in a file."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from models.contracts.film import FilmOptions, FilmPlan, Limits
from video.join import join_film
from video.plan import plan_film
from video.segment import make_segment

OPTIONS = FilmOptions(style="none")
LIMITS = Limits()


class Same:
    """A network that leaves pictures as they are."""

    def __init__(self, batch: int = 2) -> None:
        self.batch = batch

    def __call__(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return pictures


def make_film(
    source: Path, *, options: FilmOptions = OPTIONS, segment_frames: int = 9, network: Any = None
) -> tuple[FilmPlan, Path]:
    """Plan, make all segments, join; the plan and the file."""
    plan = plan_film(source, options, LIMITS, segment_frames=segment_frames)
    segments = []
    for index in range(len(plan.segments)):
        segments.append(source.with_name(f"{source.stem}-{index}.segment"))
        segments[-1].write_bytes(make_segment(source, plan, index, network or Same()))
    out = source.with_name(f"{source.stem}-out{plan.ending}")
    join_film(source, plan, segments, out)
    return plan, out


@dataclass
class Facts:
    """What a player finds in a file."""

    times: list[Fraction] = field(default_factory=list)
    pictures: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    rotation: int = 0
    sound: list[list[bytes]] = field(default_factory=list)
    sound_times: list[list[Fraction]] = field(default_factory=list)
    texts: list[list[bytes]] = field(default_factory=list)


def facts(path: Path) -> Facts:
    """Decode a film and read all its packets."""
    found = Facts()
    with av.open(str(path)) as container:
        stream = next(each for each in container.streams.video if not each.disposition & 0x400)
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            assert frame.pts is not None
            assert stream.time_base is not None
            found.times.append(frame.pts * stream.time_base)
            found.pictures.append(np.asarray(frame.to_ndarray(format="gray"), np.uint8))
            found.sizes.add((frame.width, frame.height))
            found.rotation = int(frame.rotation)
    with av.open(str(path)) as container:
        packets: dict[int, list[Any]] = {each.index: [] for each in container.streams}
        for packet in container.demux():
            if packet.size:
                packets[packet.stream_index].append(packet)
        for stream in container.streams:
            data = [bytes(packet) for packet in packets[stream.index]]
            if stream.type == "audio":
                found.sound.append(data)
                found.sound_times.append([packet.pts * packet.time_base for packet in packets[stream.index]])
            elif stream.type == "subtitle":
                found.texts.append(data)
    return found


def assert_same_times(source: Facts, result: Facts, tick: Fraction = Fraction(1, 1000)) -> None:
    """Frame for frame the same times, within a tick; films whose reader mixes them up are compared in order."""
    assert len(result.times) == len(source.times)
    assert all(abs(a - b) <= tick for a, b in zip(sorted(source.times), result.times, strict=True))


def assert_same_order(source: Facts, result: Facts) -> None:
    """Every picture resembles its own source picture more than any neighbour of that."""
    for number, picture in enumerate(result.pictures):
        near = range(max(number - 2, 0), min(number + 3, len(source.pictures)))
        distances = {at: np.abs(source.pictures[at].astype(int) - picture).mean() for at in near}
        assert min(distances, key=lambda at: distances[at]) == number, f"frame {number}"
