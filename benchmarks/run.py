"""Runs the benchmarks and keeps their results: `python -m benchmarks.run [--quick] [--only NAME]`."""

import argparse
import importlib
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.report import RESULTS, Report

NAMES = (
    "scoring",
    "windowing",
    "stream_memory",
    "end_to_end",
    "eventhubs",
    "recommender_serving",
    "recommender_training",
    "video",
)


def main() -> int:
    """Exit code 1 if results did not agree; a missed target is printed, not punished: machines differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", choices=NAMES, action="append", help="run this one (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="small and once, to see that it works; nothing is kept")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the kept results")
    given = parser.parse_args()
    console = Console()
    failed = False
    for name in given.only or NAMES:
        folder = Path(tempfile.mkdtemp(prefix=f"penstock-bench-{name}-"))
        try:
            with console.status(f"{name} ..."):
                report: Report = importlib.import_module(f"benchmarks.{name}").run(folder, quick=given.quick)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        _show(console, report)
        failed |= bool(report.failures)
        if not given.quick:
            report.save(given.results)
    return 1 if failed else 0


def _show(console: Console, report: Report) -> None:
    table = Table(title=report.title, title_justify="left")
    for column, justify in (("figure", "left"), ("median", "right"), ("spread", "right"), ("target", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]  # rich's own literals
    for figure in report.figures:
        style = None if figure.met is None else "green" if figure.met else "red"
        table.add_row(*figure.row(), style=style)
    console.print(table)
    for failure in report.failures:
        console.print(f"[red]FAILED[/red] {failure}")


if __name__ == "__main__":
    sys.exit(main())
