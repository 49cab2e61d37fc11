"""The film of `penstock demo`: made up, with sound, stylised as a job, and shown before and after."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from models.errors import PenstockError

if TYPE_CHECKING:
    from infra.settings import Settings

SECONDS = 3
SIZE = (480, 270)
_QUALITY = "fast"


class FilmFailed(PenstockError):
    """The demo's film did not come back as it should; the message says how."""


class FilmSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the film."""

    frames: int
    """In the film that came back; as many as went in."""
    seconds: float
    """From the upload to the finished film."""
    style: str
    picture: str
    """A file with a frame before, and after beside it."""


def submit_film(settings: "Settings", folder: Path) -> tuple[Path, str]:
    """A short film and its job; it is worked on beside everything else."""
    from infra.cli.video import upload
    from video.clip import make_clip
    from video.landscape import landscape

    clip = folder / "demo.mp4"
    make_clip(clip, seconds=SECONDS, size=SIZE, audio=("aac",), draw=landscape)
    return clip, upload(settings, clip, {"quality": _QUALITY})


def finish_film(settings: "Settings", clip: Path, job: str, picture: Path) -> FilmSummary:
    """What became of the job, once it has ended; writes `picture`. Raises FilmFailed."""
    from infra.cli.video import follow
    from infra.cli.video_out import download
    from models.contracts.film import Limits
    from models.contracts.videos import VideoState
    from video.plan import plan_film
    from video.preview import write_preview

    status = follow(settings, job, until_end=True, shown=False)
    if status.state != VideoState.DONE or status.options is None or status.ended_at is None:
        raise FilmFailed(f"video {status.id} {status.state}: {status.error}")
    styled = clip.with_name(f"styled{Path(status.result).suffix}")
    download(settings, status, styled)
    (before, sound_before), (after, sound_after) = _read(clip), _read(styled)
    if before != after:
        raise FilmFailed(f"expected {before} frames, got {after}")
    if sound_before != sound_after:
        raise FilmFailed("expected the sound as it was, packet for packet")
    write_preview(clip, styled, plan_film(clip, status.options, Limits()), picture)
    return FilmSummary(
        frames=after,
        seconds=round(status.ended_at - status.created_at, 2),
        style=status.options.style,
        picture=str(picture),
    )


def _read(film: Path) -> tuple[int, list[bytes]]:
    """How many frames a film has, and its sound as packets."""
    import av

    with av.open(str(film)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    with av.open(str(film)) as container:
        return frames, [bytes(packet) for packet in container.demux(audio=0) if packet.size]
