"""Which tracks of a film a container can hold, found out by trying."""

from io import BytesIO
from pathlib import Path
from typing import Final

import av
from av.stream import Stream

from video.probe import open_film

MUXERS: Final = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"}

# What was seen to come back whole; the writers of MP4 and MOV take more than players do. Matroska holds all that its
# writer takes.
_MP4: Final = {"aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus", "flac", "mov_text"}
_PCM: Final = {
    f"pcm_{name}"
    for name in ("s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "u8", "s8", "alaw", "mulaw")
}
_MOV: Final = {"aac", "mp3", "ac3", "eac3", "alac", "mov_text", *_PCM}
_KNOWN: Final = {"mp4": _MP4, "mov": _MOV}


def refused(path: Path, container: str) -> set[int]:
    """Indexes of the tracks of sound and text that "mp4", "mov" or "mkv" does not take."""
    with open_film(path) as film:
        return {
            stream.index
            for stream in film.streams
            if stream.type in ("audio", "subtitle") and not _holds(container, stream)
        }


def _holds(container: str, stream: Stream) -> bool:
    if stream.codec_context is None:
        return False
    known = _KNOWN.get(container)
    if known is not None and stream.codec_context.codec.canonical_name not in known:
        return False
    try:
        with av.open(BytesIO(), "w", format=MUXERS[container]) as output:
            output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True
