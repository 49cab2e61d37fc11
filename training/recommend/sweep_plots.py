"""Plots of a sweep: how it went, and what each option does to the score."""

from typing import TYPE_CHECKING, Any

import numpy as np

from training.recommend.report import Plot
from training.recommend.sweep import Searched

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def by_trial(sweep: Searched[Any]) -> Plot:
    """Score of each finished trial, and the best so far."""

    def plot(axes: "Axes") -> None:
        scored = [(trial.number, trial.score) for trial in sweep.trials if trial.score is not None]
        stopped = [trial.number for trial in sweep.trials if trial.state == "pruned"]
        number, score = np.array(scored).T
        best = np.minimum.accumulate(score) if sweep.metric != "ndcg_at_k" else np.maximum.accumulate(score)
        axes.plot(number, score, "o", markersize=4, label="trial")
        axes.step(number, best, where="post", label="best so far")
        if stopped:
            floor = np.full(len(stopped), score.max() if sweep.metric != "ndcg_at_k" else score.min())
            axes.plot(stopped, floor, "x", color="0.6", markersize=4, label="stopped early (no score)")
        axes.set_xlabel("trial")
        axes.locator_params(axis="x", integer=True)
        axes.set_ylabel(f"{sweep.metric}, mean over folds")
        axes.legend(frameon=False)

    return plot


def by_option(sweep: Searched[Any]) -> Plot:
    """Score over the regularisation, sized by factors, coloured by the confidence if there is one."""

    def plot(axes: "Axes") -> None:
        scored = [trial for trial in sweep.trials if trial.score is not None]
        for group in sorted({str(trial.options.get("confidence", "")) for trial in scored}):
            chosen = [trial for trial in scored if str(trial.options.get("confidence", "")) == group]
            axes.scatter(
                [float(trial.options["regularization"]) for trial in chosen],
                [trial.score or 0.0 for trial in chosen],
                s=[float(trial.options["factors"]) for trial in chosen],
                alpha=0.6,
                label=f"confidence {group}" if group else None,
            )
        axes.set_xscale("log")
        axes.set_xlabel("regularization (size of a dot: factors)")
        axes.set_ylabel(f"{sweep.metric}, mean over folds")
        if any("confidence" in trial.options for trial in scored):
            axes.legend(frameon=False)

    return plot
