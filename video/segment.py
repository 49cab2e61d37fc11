"""One segment of a film, made in memory by three threads: decode, stylise, encode."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from models.contracts.film import FilmPlan, Segment
from models.errors import BadInput
from video.decode import frames_between
from video.encode import FilmEncoder
from video.pipe import Closed, Pipe

Pictures = npt.NDArray[np.uint8]

# Batches that wait before and after the network: enough to keep three threads busy, and little memory.
_WAITING: Final = 1


class Network(Protocol):
    """What makes one picture of another."""

    @property
    def batch(self) -> int:
        """How many pictures it takes at most in one call."""
        ...

    def __call__(self, pictures: Pictures, /) -> Pictures:
        """uint8, (n, h, w, 3), RGB, n at most `batch`, to uint8, (n, H, W, 3): the size of the plan's encoder."""
        ...


class Stopped(Exception):  # asked for, no error
    """The work was given up because `stopped` was set."""


class SegmentFile(msgspec.Struct, frozen=True, kw_only=True):
    """A made segment, as it is stored: encoded packets in the order of their times."""

    version: int = 1
    plan: str
    """Digest of the plan it was made by."""
    index: int
    header: bytes
    """Parameter sets of the encoder."""
    times: list[int]
    """Of each packet, in the time base of the source; no packet is shown before one that precedes it."""
    keys: list[int]
    """Numbers of the packets from which decoding can begin."""
    packets: list[bytes]


def plan_digest(plan: FilmPlan) -> str:
    """What names the plan in its segments."""
    return hashlib.sha256(msgspec.json.encode(plan)).hexdigest()


def make_segment(
    path: Path,
    plan: FilmPlan,
    index: int,
    network: Network,
    *,
    progress: Callable[[int], None] = lambda frames: None,
    stopped: threading.Event | None = None,
) -> bytes:
    """The finished segment `index` of the plan, a `SegmentFile` as MessagePack; equal for equal input and network.

    `progress` is called with the frames stylised so far, after each batch, in the caller's thread; so is the network.
    `BadInput`: the film does not have the planned frames. `Stopped`: `stopped` was set; noticed within one batch.
    Errors of any thread end all three and come out as they were raised. Repeating the call is harmless.
    """
    segment = plan.segments[index]
    stopped = stopped or threading.Event()
    work = _Work(path, plan, segment, network.batch, stopped)
    work.start()
    try:
        done = 0
        for times, pictures in work.decoded:
            if stopped.is_set():
                raise Stopped
            styled = network(pictures)
            _check(plan, pictures, styled)
            done += len(times)
            progress(done)
            work.styled.put((times, styled))
        work.styled.finish()
    except Closed:
        pass  # the thread that closed the pipe left its reason
    except BaseException:
        work.abandon()
        raise
    finally:
        work.join()
    if stopped.is_set():
        raise Stopped
    if work.error is not None:
        raise work.error
    return _file(plan, index, segment, work)


def _check(plan: FilmPlan, pictures: Pictures, styled: Pictures) -> None:
    expected = (len(pictures), plan.encoder.height, plan.encoder.width, 3)
    if styled.shape != expected or styled.dtype != np.uint8:
        raise BadInput(
            f"the style's network made {styled.dtype} pictures of shape {styled.shape}, expected uint8 {expected}"
        )


class _Work:
    """The two threads around the network, and the pipes between the three."""

    def __init__(self, path: Path, plan: FilmPlan, segment: Segment, batch: int, stopped: threading.Event) -> None:
        self.decoded: Pipe[tuple[list[int], Pictures]] = Pipe(_WAITING)
        self.styled: Pipe[tuple[list[int], Pictures]] = Pipe(_WAITING)
        self.error: BaseException | None = None
        self.header = b""
        self.packets: list[tuple[int, bool, bytes]] = []
        self._arguments = (path, plan, segment, batch, stopped)
        self._threads = [
            threading.Thread(target=self._guarded, args=(each,), name=f"segment-{each.__name__.strip('_')}")
            for each in (self._decode, self._encode)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def abandon(self) -> None:
        self.decoded.abandon()
        self.styled.abandon()

    def _guarded(self, part: Callable[[], None]) -> None:
        try:
            part()
        except Closed:
            pass
        except BaseException as error:  # raised again in the caller's thread
            self.error = self.error or error
            self.abandon()

    def _decode(self) -> None:
        path, plan, segment, batch, stopped = self._arguments
        source = plan.source
        times: list[int] = []
        pictures: Pictures = np.empty(0, np.uint8)
        for frame in frames_between(path, plan, segment, stopped):
            if batch == 1 and frame.picture.flags.c_contiguous:  # nothing to gather, so nothing to copy
                self.decoded.put(([frame.time], frame.picture[None]))
                continue
            if not times:
                pictures = np.empty((batch, source.height, source.width, 3), np.uint8)
            pictures[len(times)] = frame.picture
            times.append(frame.time)
            if len(times) == len(pictures):
                self.decoded.put((times, pictures))
                times = []
        if times:
            self.decoded.put((times, pictures[: len(times)]))
        self.decoded.finish()

    def _encode(self) -> None:
        encoder = FilmEncoder(self._arguments[1].encoder)
        self.header = encoder.header
        for times, pictures in self.styled:
            for time, picture in zip(times, pictures, strict=True):
                self.packets += encoder.encode(picture, time)
        self.packets += encoder.finish()


def _file(plan: FilmPlan, index: int, segment: Segment, work: _Work) -> bytes:
    times = [time for time, _, _ in work.packets]
    if times != segment.times:
        raise BadInput(
            f"segment {index} has {len(times)} encoded frames at other times than the {segment.frames} planned"
        )
    return msgspec.msgpack.encode(
        SegmentFile(
            plan=plan_digest(plan),
            index=index,
            header=work.header,
            times=times,
            keys=[number for number, (_, key, _) in enumerate(work.packets) if key],
            packets=[data for _, _, data in work.packets],
        )
    )


def read_segment(path: Path, plan: FilmPlan, index: int, digest: str) -> SegmentFile:
    """The stored segment; `BadInput` if it is not segment `index` of the plan with this digest."""
    try:
        file = msgspec.msgpack.decode(path.read_bytes(), type=SegmentFile)
    except msgspec.DecodeError as error:
        raise BadInput(f"segment {index} cannot be read: {error}") from error
    if (file.plan, file.index) != (digest, index):
        raise BadInput(f"expected segment {index} of plan {digest[:12]}, got {file.index} of {file.plan[:12]}")
    if file.times != plan.segments[index].times or len(file.packets) != len(file.times):
        raise BadInput(f"segment {index} has {len(file.packets)} frames, the plan {plan.segments[index].frames}")
    return file


def check_set(paths: Sequence[Path], plan: FilmPlan) -> None:
    """Refuse a list of segments that is not as long as the plan's."""
    if len(paths) != len(plan.segments):
        raise BadInput(f"expected {len(plan.segments)} segments, got {len(paths)}")
