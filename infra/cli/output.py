"""How commands print: one JSON document with `--json`, tables and sentences without. Errors go to stderr."""

import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
# What a terminal would obey, tabs and line ends apart.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class _Console(Console):
    """Texts are shown, whatever is in them: names come from anybody who may write to storage or to the hub."""

    def print(self, *objects: Any, **how: Any) -> None:
        super().print(*(visible(each) if isinstance(each, str) else each for each in objects), **how)


# No markup: names of devices and paths may hold what rich would take for it.
stdout = _Console(highlight=False, markup=False)
stderr = _Console(stderr=True, highlight=False, markup=False)


def visible(text: str) -> str:
    """`text` with U+FFFD for each control character that is no tab and no line end."""
    return _CONTROL.sub("\ufffd", text)


def print_json(document: Any) -> None:
    """One JSON document on stdout; Structs and dicts alike."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")
    sys.stdout.flush()


def moment(epoch_s: float) -> str:
    """A time for people, in UTC, to the second."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table of texts, shown as they are."""
    made = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        made.add_row(*(Text(visible(str(cell))) for cell in row))
    return made


def progress_bar(*, shown: bool = True) -> Progress:
    """A progress bar on stderr; silent when stderr is no terminal or `shown` is false."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=stderr,
        disable=not (shown and stderr.is_terminal),
    )


def working(message: str) -> AbstractContextManager[object]:
    """A spinner on stderr while something long runs; a plain line where stderr is no terminal."""
    if not stderr.is_terminal:
        stderr.print(message)
    return stderr.status(message)
