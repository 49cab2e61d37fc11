"""How a search of options is shown: its best trials as a table, and all of them as plots beside the report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra.cli import output

if TYPE_CHECKING:
    from training.recommend.sweep import Searched

_SHOWN: Final = 10


def best_trials(found: "Searched[Any]") -> tuple[list[str], list[list[object]]]:
    """Header and rows of the ten best trials, the best first."""
    scored = [trial for trial in found.trials if trial.score is not None]
    scored.sort(key=lambda trial: trial.score or 0.0, reverse=found.metric == "ndcg_at_k")
    names = list(scored[0].options)
    rows: list[list[object]] = [
        [trial.number, trial.score, *(trial.options[name] for name in names)] for trial in scored[:_SHOWN]
    ]
    return ["trial", found.metric, *names], rows


def print_trials(header: list[str], rows: list[list[object]]) -> None:
    """The table of `best_trials` on the terminal."""
    shown = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    output.stdout.print(output.table(header, shown))


def write_sweep(report: Path, document: dict[str, Any], text: str, found: "Searched[Any]") -> list[Path]:
    """Write the report, Markdown and the plots of the trials; the files written."""
    from training.recommend.report import write_report
    from training.recommend.sweep_plots import by_option, by_trial

    return write_report(report, document, text, {"trials": by_trial(found), "options": by_option(found)})
