"""Values that callers and lists give as text: ids and numbers, refused with what was expected and what came."""

from collections.abc import Mapping
from typing import Final

import msgspec

from models.contracts.feedback import LONGEST_ID, Id
from models.errors import BadInput

_SHOWN: Final = 60


def number_of(parameters: Mapping[str, str], name: str, *, default: int, most: int) -> int:
    """Parameter `name`, from 1 to `most`; `default` if it is not given. Raises BadInput for any other value."""
    text = parameters.get(name)
    if text is None:
        return default
    found = number(text, most)
    if found is None:
        raise BadInput(f"{name}: expected a number between 1 and {most}, got {brief(text)}")
    return found


def number(text: str, most: int) -> int | None:
    """`text` as a number from 1 to `most`; None if it is none."""
    # The length first: int() has a limit of its own on digits, and fails in its own way beyond it.
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 0 < int(text) <= most:
        return int(text)
    return None


def checked_id(text: str | None, what: str) -> str:
    """An id as ratings have it. Raises BadInput if it is empty, too long, no text or holds a control character."""
    if "\ufffd" in (text or ""):  # what hosts put in place of such bytes
        raise BadInput(f"{what}: expected UTF-8, percent-encoded, got a byte that is none in {brief(text or '')}")
    try:
        id = msgspec.convert(text, Id)
    except msgspec.ValidationError:
        raise BadInput(
            f"{what}: expected 1 to {LONGEST_ID} characters without control characters, got "
            + (f"{len(text)} characters" if text and len(text) > LONGEST_ID else repr(text))
        ) from None
    if any("\ud800" <= character <= "\udfff" for character in id):
        raise BadInput(f"{what}: expected characters, got half of a surrogate pair in {brief(id)}")
    return id


def brief(text: str) -> str:
    """`text` in quotes, cut where it is long."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}... ({len(text)} characters)"
