"""Flicker of a style network trained with the term for stability, and of the same network trained without.

`python -m benchmarks.style_flicker --picture P --photos FOLDER --vgg WEIGHTS [--steps N] [--stability-weight W]`
trains both, same seed and steps, and keeps the result. Not part of `make bench`: it needs pictures that
may not be handed on.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import torch

from benchmarks.report import RESULTS, Figure, Report
from training.style.evaluate import Scores
from training.style.network import ARCHITECTURES
from training.style.run import Loaded, Sources, train_style
from training.style.train import TrainingOptions


def run(sources: Sources, options: TrainingOptions, work: Path) -> Report:
    """Train the pair and measure both on the test photos and the pan. `work` keeps the checkpoints."""
    loaded = Loaded.read(sources, options, torch.device("cpu"))
    without = _scores(loaded, msgspec.structs.replace(options, stability_weight=0.0), work / "without")
    with_term = _scores(loaded, options, work / "with")
    return Report(
        name="style_flicker",
        title="Flicker with and without the term for stability",
        conditions=[
            f"One style picture ({sources.picture.stem}), the fast network, {options.steps} steps of {options.batch} "
            f"crops of {options.crop} pixels, seed {options.seed}, "
            f"{'from ' + options.start if options.start else 'from random weights'}: twice, with stability_weight "
            f"{options.stability_weight:g} and 0.",
            "E_warp: mean squared difference of neighbouring frames of a synthetic pan (3 and 1 pixels a frame, "
            "noise of 2 levels), moved onto each other by the exact motion; pixels 0..1.",
            f"Style and content losses are means over {len(loaded.test)} photos that were not trained on.",
        ],
        figures=[
            Figure(
                name="E_warp below that without the term",
                unit="%",
                values=[100 * (1 - with_term.warp_error / without.warp_error)],
                at_least=30,
            ),
            Figure(
                name="style loss above that without the term",
                unit="%",
                values=[100 * (with_term.style / without.style - 1)],
                at_most=10,
            ),
            *_figures("with", with_term),
            *_figures("without", without),
            Figure(name="E_warp of the input", unit="1e-6", values=[1e6 * without.warp_error_of_input]),
        ],
    )


def _scores(loaded: Loaded, options: TrainingOptions, work: Path) -> Scores:
    work.mkdir(parents=True, exist_ok=True)
    _, trained = train_style(
        loaded, options, style="flicker", quality="fast", title="", licence="", work=work, clock=time.monotonic
    )
    return trained.scores


def _figures(which: str, scores: Scores) -> list[Figure]:
    return [
        Figure(name=f"E_warp {which} the term", unit="1e-6", values=[1e6 * scores.warp_error]),
        Figure(name=f"style loss {which} the term", unit="", values=[scores.style]),
        Figure(name=f"content loss {which} the term", unit="", values=[scores.content]),
    ]


def main() -> int:
    """Exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.style_flicker", description=__doc__)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--vgg", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="begin both with this fast network")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--stability-weight", type=float, default=10.0)
    parser.add_argument("--work", type=Path, help="keep checkpoints here, and go on from them")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    options = TrainingOptions(
        architecture=ARCHITECTURES["fast"],
        steps=given.steps,
        stability_weight=given.stability_weight,
        start=given.start.name if given.start else "",
    )
    sources = Sources(picture=given.picture, photos=given.photos, weights=given.vgg, start=given.start)
    with tempfile.TemporaryDirectory() as temporary:
        report = run(sources, options, given.work or Path(temporary))
    report.save(RESULTS)
    for figure in report.figures:
        print("  ".join(figure.row()))
    return 0 if all(figure.met is not False for figure in report.figures) else 1


if __name__ == "__main__":
    sys.exit(main())
