"""The contact sheet of the docs: a drawn picture and what every shipped network makes of it.

`python -m benchmarks.style_sheet [OUT]` writes docs/images/styles.jpg.
"""

import sys
from pathlib import Path

import torch

from training.style.graph import network_of
from training.style.pictures import write_picture
from video.landscape import landscape

_ROOT = Path(__file__).parent.parent
_STYLES = ("starry-night", "great-wave", "composition-vii")
_QUALITIES = ("fast", "fine")
_WIDTH, _HEIGHT = 480, 272


def sheet(styles: Path) -> torch.Tensor:
    """The picture above, a column per style below, `fast` over `fine`: float [3, h, w]."""
    picture = torch.from_numpy(landscape(30, _WIDTH, _HEIGHT, 75)).permute(2, 0, 1).contiguous() / 255
    rows = []
    for quality in _QUALITIES:
        networks = [network_of((styles / style / f"{quality}.onnx").read_bytes()) for style in _STYLES]
        with torch.no_grad():
            rows.append(torch.cat([network(picture[None])[0].clamp(0, 1) for network in networks], 2))
    first = torch.ones_like(rows[0])
    first[:, :, _WIDTH : 2 * _WIDTH] = picture
    return torch.cat([first, *rows], 1)


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else _ROOT / "docs" / "images" / "styles.jpg"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_picture(sheet(_ROOT / "video" / "styles"), out)
