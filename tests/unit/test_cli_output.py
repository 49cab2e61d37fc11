"""What commands print, whoever chose the names in it."""

import io

from rich.console import Console

from infra.cli import output

HOSTILE = "film\x1b[2J\x1b]0;title\x07 \x9b31m\r.mp4"
SHOWN = "film�[2J�]0;title� �31m�.mp4"


def test_sentences_show_what_a_terminal_would_obey(capsys) -> None:
    output.stdout.print(f"video {HOSTILE}\n\tdone", soft_wrap=True)
    assert capsys.readouterr().out.replace("        ", "\t") == f"video {SHOWN}\n\tdone\n"


def test_tables_show_what_a_terminal_would_obey() -> None:
    written = io.StringIO()
    Console(file=written, width=80).print(output.table(("name",), [(HOSTILE,), ("two\nlines",)]))
    assert [line.strip() for line in written.getvalue().splitlines()] == ["name", SHOWN, "two", "lines"]
