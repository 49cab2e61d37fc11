"""The contact sheet of the docs: a drawn picture and what every shipped network makes of it.

`python -m benchmarks.style_sheet [OUT]` writes docs/images/styles.jpg.
"""

import sys
from pathlib import Path

import torch

from training.style.evaluate import synthetic_picture
from training.style.graph import network_of
from training.style.pictures import resize, write_picture

_ROOT = Path(__file__).parent.parent
_STYLES = ("starry-night", "great-wave", "composition-vii")
_QUALITIES = ("fast", "fine")


def sheet(styles: Path) -> torch.Tensor:
    """The picture above, a column per style below, `fast` over `fine`, at half the size: float [3, h, w]."""
    picture = synthetic_picture(360, 640, seed=5)
    rows = []
    for quality in _QUALITIES:
        networks = [network_of((styles / style / f"{quality}.onnx").read_bytes()) for style in _STYLES]
        with torch.no_grad():
            styled = [network(picture[None])[0].clamp(0, 1) for network in networks]
        rows.append(torch.cat([resize(each, 225, 400) for each in styled], 2))
    first = torch.ones(3, 225, rows[0].shape[2])
    first[:, :, 400:800] = resize(picture, 225, 400)
    return torch.cat([first, *rows], 1)


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else _ROOT / "docs" / "images" / "styles.jpg"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_picture(sheet(_ROOT / "video" / "styles"), out)
