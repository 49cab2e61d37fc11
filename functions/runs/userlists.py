"""Lists of users as they are uploaded: JSON lines, CSV with a header, or `.txt` with one id per line."""

import csv
import io
from collections.abc import Iterator
from typing import Final

import msgspec

from functions.parameters import brief, checked_id, number
from models.contracts.feedback import Id
from models.contracts.recommendations import MAX_K
from models.errors import BadInput

MOST_USERS: Final = 100_000
_DEFAULT_K: Final = 10


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the list: a user and how many items are wanted, or what is wrong with the line."""

    line: int
    user: str = ""
    k: int = _DEFAULT_K
    error: str = ""


class _Line(msgspec.Struct, frozen=True):
    user: Id | int
    k: int = _DEFAULT_K


def parse_users(name: str, data: bytes) -> list[Entry]:
    """The entries of a list, in its order; `name` says the form by its ending, else the first character does.

    JSON lines: `{"user": "17", "k": 5}` or `"17"`. CSV: a header with `user` and perhaps `k`. A file whose name ends
    in `.txt` may hold ids alone. Empty lines are passed over. A line that cannot be used becomes an entry with an
    error. Raises BadInput for a file that is no such list at all: no text, empty, too long, or not one good line.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"expected UTF-8 text, one user per line; byte {error.start} is none") from error
    entries: list[Entry] = []
    for entry in _json_lines(text) if _is_json(name, text) else _csv(text, header=not name.lower().endswith(".txt")):
        entries.append(entry)
        if len(entries) > MOST_USERS:
            raise BadInput(f"expected at most {MOST_USERS} users, got more; cut the list into several files")
    if not entries:
        raise BadInput("expected users, one per line; the file is empty")
    if all(entry.error for entry in entries):
        raise BadInput(f"not one line of {len(entries)} names a user; line {entries[0].line}: {entries[0].error}")
    return entries


def _is_json(name: str, text: str) -> bool:
    ending = name.rpartition(".")[2].lower()
    if ending in ("csv", "txt"):
        return False
    return ending in ("jsonl", "json", "ndjson") or text.lstrip()[:1] in ("{", '"')


def _json_lines(text: str) -> Iterator[Entry]:
    for place, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = _decoder.decode(line)
        except msgspec.DecodeError as error:
            yield Entry(line=place, error=f"expected a user or {{'user': ..., 'k': ...}}, got {brief(line)}: {error}")
            continue
        given = found if isinstance(found, _Line) else _Line(found)
        yield _entry(place, str(given.user), str(given.k))


def _csv(text: str, *, header: bool) -> Iterator[Entry]:
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        first = [cell.strip() for cell in next(rows, [])]
        if "user" in first:
            user, k = first.index("user"), first.index("k") if "k" in first else None
        elif header and any(first):
            raise BadInput(f"expected a CSV header with `user` (and perhaps `k`), got {brief(','.join(first))}")
        else:
            user, k = 0, None
            yield from (_checked(1, cell, None) for cell in first[:1] if cell)
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(first):
                yield Entry(line=rows.line_num, error=f"expected {len(first)} cells, got {len(row)}")
                continue
            yield _checked(rows.line_num, row[user].strip(), None if k is None else row[k].strip())
    except csv.Error as error:
        raise BadInput(f"CSV line {rows.line_num}: {error}") from error


def _checked(line: int, user: str, k: str | None) -> Entry:
    try:
        return _entry(line, checked_id(user, "user"), k or str(_DEFAULT_K))
    except BadInput as error:
        return Entry(line=line, error=str(error))


def _entry(line: int, user: str, k: str) -> Entry:
    wanted = number(k, MAX_K)
    if wanted is None:
        return Entry(line=line, user=user, error=f"k: expected a number between 1 and {MAX_K}, got {brief(k)}")
    return Entry(line=line, user=user, k=wanted)


_decoder: Final = msgspec.json.Decoder(_Line | Id | int)
