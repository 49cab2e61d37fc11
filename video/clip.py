"""Films that are made up: moving shapes with sound, for demonstrations, tests and measurements."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer

_ENCODERS: Final = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1", "vp8": "libvpx"}
_FAST: Final[dict[str, dict[str, str]]] = {
    "libx264": {"preset": "ultrafast", "crf": "18"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1:ctu=16"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0"},
    "libsvtav1": {"preset": "12", "crf": "30"},
    "vorbis": {"strict": "experimental"},
}
_SOUND_RATE: Final = 48_000
_SOUND_FRAME: Final = 1024


def picture(number: int, width: int, height: int, frames: int = 250) -> npt.NDArray[np.uint8]:
    """Picture `number` of a made-up film, uint8, (height, width, 3), RGB: a sky, and shapes that cross it."""
    rows, columns = np.mgrid[0:height, 0:width]
    phase = number / max(frames, 1)
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = (columns * 160 // width + 40 * phase).astype(np.uint8)
    image[..., 1] = (rows * 140 // height + 60).astype(np.uint8)
    image[..., 2] = 200 - (rows * 120 // height)
    radius = min(width, height) / 5
    for shade, speed, level in (((250, 200, 60), 1.0, 0.35), ((60, 40, 160), -1.6, 0.6), ((220, 60, 60), 2.3, 0.75)):
        across = (0.5 + speed * phase) % 1.0 * width
        inside = (columns - across) ** 2 + (rows - level * height) ** 2 < radius**2
        image[inside] = shade
    # A bar whose place says the number, so that frames can be told apart.
    at = number * 3 % max(width - 2, 1)
    image[: max(height // 10, 2), at : at + 2] = 255
    return image


def make_clip(
    path: Path,
    *,
    frames: int | None = None,
    seconds: float | None = None,
    fps: Fraction | int = 25,
    size: tuple[int, int] = (320, 180),
    codec: str = "h264",
    container: str | None = None,
    audio: Sequence[str] = ("aac",),
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    audio_offset: float = 0.0,
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    context: dict[str, Any] | None = None,
    rotation: int = 0,
    draw: Callable[[int, int, int, int], npt.NDArray[np.uint8]] = picture,
) -> None:
    """Write a film of moving shapes to `path`, with one track of sound per codec named in `audio`.

    `size`: width, height. `times`: of each frame, in `time_base`, for variable rates or a late start. `audio_offset`:
    seconds by which the sound begins later. `options`: of the encoder; `context`: attributes of its context (colour
    tags, sample aspect ratio). `container`: the muxer, if the ending of the name does not say it. `draw`: makes the
    pictures, as `picture` does.
    """
    rate = Fraction(fps)
    count = len(times) if times is not None else frames or max(round((seconds or 1.0) * rate), 1)
    unit = time_base or 1 / rate
    stamps = times if times is not None else [round(number / rate / unit) for number in range(count)]
    encoder = _ENCODERS.get(codec, codec)
    with av.open(str(path), "w", format=container) as output:
        stream: Any = output.add_stream(encoder, rate=rate, options={**_FAST.get(encoder, {}), **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.time_base = stream.codec_context.time_base = unit
        stream.codec_context.thread_count = 1
        for name, value in (context or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        sounds = [_Sound(output, name, audio_offset, number) for number, name in enumerate(audio)]
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(draw(number, *size, count)).reformat(format=pixel_format)
            frame.pts, frame.time_base = stamp, unit
            output.mux(stream.encode(frame))
            for sound in sounds:
                sound.until(float((stamp - stamps[0]) * unit))
        output.mux(stream.encode())
        for sound in sounds:
            sound.end(float((stamps[-1] - stamps[0]) * unit + 1 / rate))


class _Sound:
    """A track with a chord that rises, written as far as the pictures are."""

    def __init__(self, output: OutputContainer, codec: str, offset_s: float, number: int) -> None:
        self._output = output
        stream: Any = output.add_stream(codec, rate=_SOUND_RATE, options=dict(_FAST.get(codec, {})))
        self._stream = stream
        stream.layout = "stereo"
        stream.format = stream.codec_context.codec.audio_formats[0]
        self._offset = round(offset_s * _SOUND_RATE)
        self._tone = 220.0 * (number + 1)
        self._written = 0

    def until(self, seconds: float) -> None:
        """Write sound up to a time after the first picture."""
        while self._written < seconds * _SOUND_RATE:
            for frame in self._frames():
                self._output.mux(self._stream.encode(frame))

    def end(self, seconds: float) -> None:
        self.until(seconds)
        self._output.mux(self._stream.encode())

    def _frames(self) -> Iterator[av.AudioFrame]:
        size = self._stream.codec_context.frame_size or _SOUND_FRAME
        at = (np.arange(size) + self._written) / _SOUND_RATE
        wave = 0.2 * np.sin(2 * np.pi * (self._tone + 30 * at) * at)
        plain = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), format="fltp", layout="stereo")
        plain.sample_rate = _SOUND_RATE
        plain.pts = self._written + self._offset
        self._written += size
        yield from av.AudioResampler(self._stream.format, "stereo", _SOUND_RATE).resample(plain)
