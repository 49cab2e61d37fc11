"""What a training or evaluation found, as files side by side: JSON for programs, Markdown and plots for people."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from models.errors import BadInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Plot = Callable[["Axes"], None]

# The order in which tables show them, and what they are called there.
SHOWN: Final = {
    "ndcg_at_k": "nDCG@k",
    "map": "MAP",
    "map_at_k": "MAP@k",
    "precision_at_k": "P@k",
    "recall_at_k": "R@k",
    "coverage": "coverage",
    "novelty": "novelty",
    "diversity": "diversity",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R2",
}
_ACCURACY: Final = ("ndcg_at_k", "map_at_k", "precision_at_k", "recall_at_k", "map")


def write_report(path: Path, document: Mapping[str, Any], markdown: str, plots: Mapping[str, Plot]) -> list[Path]:
    """Write `path` (JSON), and beside it `<stem>.md` and `<stem>-<name>.png` per plot; the paths that were written.

    Plots are left out where matplotlib is not installed, and the Markdown says so. Raises BadInput as `prepare` does.
    """
    prepare(path)
    images = {name: path.with_name(f"{path.stem}-{name}.png") for name in plots}
    drawn = draw({images[name]: plot for name, plot in plots.items()})
    pictures = "".join(f"\n![{name}]({images[name].name})\n" for name in plots) if drawn else _NO_PLOTS
    text = path.with_suffix(".md")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    text.write_text(markdown + pictures, encoding="utf-8")
    return [path, text, *drawn]


def prepare(path: Path) -> None:
    """Make the folder of a report, before the work that it shall describe.

    Raises BadInput unless `path` ends in .json and its folder can be made.
    """
    if path.suffix != ".json":
        raise BadInput(f"report: expected a name that ends in .json, got {path.name!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"report: cannot make the folder {path.parent}: {error.strerror}") from error


_NO_PLOTS: Final = "\nNo plots: matplotlib is not installed (pip install 'penstock[training]').\n"


def draw(plots: Mapping[Path, Plot]) -> list[Path]:
    """Write one PNG per plot; none if matplotlib is not installed. Needs no display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return []
    for path, plot in plots.items():
        figure = Figure(figsize=(7, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        plot(axes)
        figure.savefig(path, dpi=120)
    return list(plots)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers with four digits after the point."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def metric_rows(by_model: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of a table with a row per model and a column per metric that any of them has."""
    names = [name for name in SHOWN if any(name in found for found in by_model.values())]
    columns = ["model", *(SHOWN[name] for name in names)]
    return columns, [[model, *(found.get(name, "") for name in names)] for model, found in by_model.items()]


def compared(by_model: Mapping[str, Mapping[str, float]], title: str) -> Plot:
    """Bars of the accuracy of ranked lists, one colour per model."""

    def plot(axes: "Axes") -> None:
        width = 0.8 / len(by_model)
        for number, (model, found) in enumerate(by_model.items()):
            places = [place + (number - (len(by_model) - 1) / 2) * width for place in range(len(_ACCURACY))]
            bars = axes.bar(places, [found[name] for name in _ACCURACY], width, label=model)
            axes.bar_label(bars, [f"{found[name]:.3f}".lstrip("0") for name in _ACCURACY], fontsize=7)
        axes.set_xticks(range(len(_ACCURACY)), [SHOWN[name] for name in _ACCURACY])
        axes.set_title(title)
        axes.legend(frameon=False)

    return plot


def _cell(cell: object) -> str:
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell).replace("|", "\\|")
