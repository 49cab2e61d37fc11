"""The body of `POST /api/videos`: anybody's bytes, of which each mistake is named."""

import json
import re
from typing import Any, Final, NoReturn

import msgspec

from functions.parameters import brief
from models.contracts.film import FilmOptions, Limits
from models.contracts.videos import VideoRequest
from models.errors import BadInput
from models.videos import film_options

_LARGEST_BODY: Final = 16_384
_LONGEST_NAME: Final = 255
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HALF: Final = re.compile(r"[\ud800-\udfff]")
_LIKE: Final = 'JSON like {"name": "film.mp4", "style": "great-wave"}'
_FIELDS: Final = msgspec.structs.fields(VideoRequest)


def read_request(body: bytes, limits: Limits) -> tuple[VideoRequest, FilmOptions]:
    """What is asked for. Raises BadInput that says what was expected and what came."""
    given = _fields(body)
    request = msgspec.convert({name: _checked(name, value) for name, value in given.items()}, VideoRequest)
    _check_name(request.name)
    texts = {name: str(value) for name, value in given.items() if name != "name" and value is not None}
    return request, film_options(texts, limits)


def _fields(body: bytes) -> dict[str, Any]:
    """The members of the object in `body`."""
    if len(body) > _LARGEST_BODY:
        raise BadInput(
            f"body: expected at most {_LARGEST_BODY} bytes that describe a film, got {len(body)}; "
            "the film itself goes to upload_url"
        )
    if not body.strip():
        raise BadInput(f"body: expected {_LIKE}, got nothing; {{}} asks for a film with all defaults")
    try:
        # Not msgspec's decoder: it takes the last of two equal names, and half a surrogate pair for a cut body.
        found = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise BadInput(f"body: expected UTF-8, got a byte that is none at {error.start}") from error
    except RecursionError as error:
        raise BadInput(f"body: expected {_LIKE}, got too many brackets in brackets") from error
    except ValueError as error:
        raise BadInput(f"body: expected {_LIKE}: {error}") from error
    if not isinstance(found, dict):
        raise BadInput(f"body: expected {_LIKE}, got {_kind(found)}")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name in found if sum(name == each for each, _ in pairs) > 1)
        raise BadInput(f"body: expected each field once, got {brief(twice)} more often")
    return found


def _no_number(text: str) -> NoReturn:
    raise BadInput(f"body: expected numbers as JSON has them, got {text}")


def _checked(name: str, value: Any) -> Any:
    """The value, if there is such a field and it may have one of this kind."""
    field = next((each for each in _FIELDS if each.name == name), None)
    if field is None:
        known = ", ".join(each.name for each in _FIELDS)
        raise BadInput(f"body: expected fields among {known}; got one that is called {brief(name)}")
    try:
        return msgspec.convert(value, field.type)
    except msgspec.ValidationError as error:
        kind = "a number" if name in ("scale", "strength") else "a text"
        raise BadInput(f"{name}: expected {kind}, got {_kind(value)}") from error


def _check_name(name: str) -> None:
    if _HALF.search(name):
        raise BadInput(f"name: expected characters, got half of a surrogate pair in {brief(name)}")
    if not 0 < len(name) <= _LONGEST_NAME or _CONTROL.search(name):
        raise BadInput(
            f"name: expected 1 to {_LONGEST_NAME} characters without control characters, got {brief(name)}"
        )


def _kind(value: object) -> str:
    """What a JSON value is, for people: short ones as they are."""
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    return brief(value) if isinstance(value, str) else brief(json.dumps(value)).strip("'")
