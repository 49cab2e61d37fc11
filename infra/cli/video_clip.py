"""`penstock video clip`: a film that is made up, to try the other commands on."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from infra.cli import output
from video.out import check_out

_SIZE = (640, 360)
# BT.601, as FFmpeg converts: a film that says so leaves nobody guessing.
_COLOUR = {"colorspace": 6, "color_primaries": 6, "color_trc": 6, "color_range": 1}


def clip(
    out: Annotated[Path, typer.Argument(help="File to write, or a folder.")],
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Its length.")] = 5.0,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")] = False,
) -> None:
    """Make a film of a drawn landscape with sound, to try things on."""
    from video.clip import make_clip
    from video.landscape import landscape

    target = out / "clip.mp4" if out.is_dir() else out
    check_out(target, force=force)
    with output.working("drawing"), tempfile.TemporaryDirectory(prefix=".penstock-", dir=target.parent) as folder:
        made = Path(folder) / f"clip{target.suffix.lower()}"
        make_clip(made, seconds=seconds, size=_SIZE, context=_COLOUR, draw=landscape)
        made.replace(target)
    output.stdout.print(f"{target}: {seconds:g} s, {_SIZE[0]}x{_SIZE[1]}, with sound", soft_wrap=True)
