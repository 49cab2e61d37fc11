"""What a caller asks of a list, from query parameters or a body; anything else is refused with what was expected."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from functions.parameters import brief, checked_id, number_of
from models.contracts.recommendations import MAX_DEPTH, MAX_K, AnonymousRequest
from models.errors import BadInput

MAX_BODY_BYTES: Final = 1_048_576
_DEFAULT_K: Final = 10
_YES_NO: Final = {"true": True, "1": True, "false": False, "0": False}
Body = TypeVar("Body")


@dataclass(frozen=True, slots=True)
class Wish:
    """How a list should be: `k` items a page, page `page` (from 1), none of `exclude`, of one genre or of all."""

    k: int = _DEFAULT_K
    page: int = 1
    exclude: tuple[str, ...] = ()
    genre: str | None = None
    explain: bool = False
    variant: str | None = None

    @classmethod
    def of_query(cls, query: Mapping[str, str]) -> "Wish":
        """Parameters k, page, exclude (ids with commas between, or a JSON array), genre, explain, variant."""
        wish = cls(
            k=number_of(query, "k", default=_DEFAULT_K, most=MAX_K),
            page=number_of(query, "page", default=1, most=MAX_DEPTH),
            exclude=_ids(query.get("exclude", "")),
            genre=query.get("genre"),
            explain=_flag(query, "explain"),
            variant=query.get("variant"),
        )
        return wish.checked()

    @classmethod
    def of_body(cls, request: AnonymousRequest) -> "Wish":
        """The same from a body."""
        wish = cls(request.k, request.page, tuple(request.exclude), request.genre, request.explain, request.variant)
        return wish.checked()

    def checked(self) -> "Wish":
        """Itself. Raises BadInput if its page lies too deep."""
        if self.k * self.page > MAX_DEPTH:
            raise BadInput(f"k and page: expected at most {MAX_DEPTH} items in all pages, got {self.k} x {self.page}")
        return self


def decode_body(data: bytes, kind: type[Body]) -> Body:
    """A request's body. Raises BadInput, saying which field is wrong and how."""
    if len(data) > MAX_BODY_BYTES:
        raise BadInput(f"body: expected at most {MAX_BODY_BYTES} bytes, got {len(data)}")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"body: {error}") from error


def _flag(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "false")
    if text.lower() not in _YES_NO:
        raise BadInput(f"{name}: expected true or false, got {brief(text)}")
    return _YES_NO[text.lower()]


def _ids(text: str) -> tuple[str, ...]:
    """Ids of a parameter. Those that no item has exclude nothing."""
    if not text.startswith("["):
        ids = [part for part in text.split(",") if part]
    else:
        try:
            ids = msgspec.json.decode(text.encode("utf-8", "replace"), type=list[str])
        except msgspec.DecodeError as error:
            raise BadInput(f"exclude: expected ids with commas between, or a JSON array of them: {error}") from error
    if len(ids) > MAX_DEPTH:
        raise BadInput(f"exclude: expected at most {MAX_DEPTH} ids, got {len(ids)}")
    return tuple(checked_id(id, "exclude") for id in ids)
