"""The film of `penstock demo`: made up, with sound, stylised as a job, and shown before and after."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from models.errors import PenstockError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from infra.settings import Settings

SECONDS = 3
SIZE = (320, 180)
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

    clip = folder / "demo.mp4"
    make_clip(clip, seconds=SECONDS, size=SIZE, audio=("aac",))
    return clip, upload(settings, clip, {"quality": _QUALITY})


def finish_film(settings: "Settings", clip: Path, job: str, picture: Path) -> FilmSummary:
    """What became of the job, once it has ended; writes `picture`. Raises FilmFailed."""
    from infra.cli.video import download, follow
    from models.contracts.videos import VideoState

    status = follow(settings, job, until_end=True, shown=False)
    if status.state != VideoState.DONE or status.options is None or status.ended_at is None:
        raise FilmFailed(f"video {status.id} {status.state}: {status.error}")
    styled = clip.with_name(f"styled{Path(status.result).suffix}")
    download(settings, status, styled)
    before, after = _read(clip), _read(styled)
    if before.keys() != after.keys() or len(before["pictures"]) != len(after["pictures"]):
        raise FilmFailed(f"expected {len(before['pictures'])} frames and the sound, got {len(after['pictures'])}")
    if before["sound"] != after["sound"]:
        raise FilmFailed("expected the sound as it was, packet for packet")
    _write_beside(before["pictures"], after["pictures"], picture)
    return FilmSummary(
        frames=len(after["pictures"]),
        seconds=round(status.ended_at - status.created_at, 2),
        style=status.options.style,
        picture=str(picture),
    )


def _read(film: Path) -> dict[str, Any]:
    """Every picture of a film, and its sound as packets."""
    import av

    with av.open(str(film)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(film)) as container:
        sound = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    return {"pictures": pictures, "sound": sound}


def _write_beside(before: "list[npt.NDArray[np.uint8]]", after: "list[npt.NDArray[np.uint8]]", path: Path) -> None:
    import av
    import numpy as np

    middle = len(before) // 2
    both = np.concatenate([before[middle], after[middle]], axis=1)
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as output:
        stream = output.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = both.shape[1], both.shape[0], "rgb24"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(both, format="rgb24")))
        output.mux(stream.encode(None))
