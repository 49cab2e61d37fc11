"""Between frames and kio's typed messages, for every API version alike.

kio has one frozen class per message and version. Handlers read attributes that exist in all versions they serve and
answer with plain mappings; `fill` makes the class of the asked version from it: it leaves out what that version does
not know and takes defaults for what the mapping does not say.
"""

from __future__ import annotations

import datetime
import io
import struct
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin

from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer

Fields = Mapping[str, Any]
"""A message to send: field names to values, nested messages as mappings."""

_PREFIX = struct.Struct(">hhi")  # API key, API version, correlation id


class BadRequest(Exception):
    """The frame is no request that this endpoint reads; the connection has to be closed."""


class Prefix(NamedTuple):
    """What every request begins with, whatever its version."""

    api_key: int
    api_version: int
    correlation_id: int


class Request(NamedTuple):
    """A decoded request. `body` is of kio's class for the API and version."""

    prefix: Prefix
    client_id: str
    body: Any  # one of a hundred generated classes without a common base


def read_prefix(frame: bytes) -> Prefix:
    """The first eight bytes of a request, or BadRequest."""
    if len(frame) < _PREFIX.size:
        raise BadRequest(f"a request has at least {_PREFIX.size} bytes, got {len(frame)}")
    return Prefix._make(_PREFIX.unpack_from(frame))


def decode_request(prefix: Prefix, frame: bytes) -> Request:
    """The whole request, or BadRequest if its bytes do not make sense."""
    try:
        schema = load_request_schema(prefix.api_key, prefix.api_version)
        header, size = entity_reader(schema.__header_schema__)(frame, 0)
        body, _ = entity_reader(schema)(frame, size)
        _check_lists(body)
    except Exception as error:  # kio's own errors, and whatever hostile numbers make of dates and lengths
        raise BadRequest(f"API {prefix.api_key} v{prefix.api_version}: {error!r}") from error
    return Request(prefix, getattr(header, "client_id", None) or "", body)


def _check_lists(entity: Any) -> None:
    """Refuse null for a list that must be there: kio lets it pass."""
    schema: type = type(entity)
    for slot in _slots(schema):
        if not slot.many:
            continue
        items = getattr(entity, slot.name)
        if items is None and not slot.nullable:
            raise ValueError(f"{slot.name} must not be null")
        if slot.nested is not None:
            for item in items or ():
                _check_lists(item)


def encode_response(prefix: Prefix, answer: Fields, version: int | None = None) -> bytes:
    """The response's frame without its length. `version` is the request's unless given."""
    schema = load_response_schema(prefix.api_key, prefix.api_version if version is None else version)
    header_schema = schema.__header_schema__
    buffer = io.BytesIO()
    header = fill(header_schema, {"correlation_id": prefix.correlation_id})
    entity_writer(header_schema)(buffer, header)
    entity_writer(schema)(buffer, fill(schema, answer))
    return buffer.getvalue()


class _Slot(NamedTuple):
    name: str
    nested: type | None
    many: bool
    default: Any
    nullable: bool


def fill(schema: type, values: Fields) -> Any:
    """An entity of the schema: known fields from `values`, the others from their defaults."""
    arguments = {}
    for name, nested, many, default, _ in _slots(schema):
        value = values.get(name, MISSING)
        if value is MISSING:
            value = default
        elif nested is not None and value is not None:
            value = tuple(fill(nested, item) for item in value) if many else fill(nested, value)
        arguments[name] = value
    return schema(**arguments)


@cache
def _slots(schema: type) -> tuple[_Slot, ...]:
    return tuple(_slot(field) for field in fields(schema))


def _slot(field: Field[Any]) -> _Slot:
    kinds = _flatten(field.type)
    nested = next((kind for kind in kinds if is_dataclass(kind)), None)
    many = any(get_origin(kind) is tuple for kind in (field.type, *get_args(field.type)))
    default = field.default if field.default is not MISSING else _zero(kinds, many)
    return _Slot(field.name, nested if isinstance(nested, type) else None, many, default, NoneType in kinds)


def _flatten(kind: Any) -> tuple[Any, ...]:
    arguments = get_args(kind)
    if not arguments:
        return (kind,)
    return tuple(leaf for argument in arguments for leaf in _flatten(argument))


def _zero(kinds: tuple[Any, ...], many: bool) -> Any:
    if NoneType in kinds:
        return None
    if many:
        return ()
    for base, zero in (
        (ErrorCode, ErrorCode.none),
        (bool, False),
        (int, 0),
        (str, ""),
        (bytes, b""),
        (datetime.timedelta, datetime.timedelta(0)),
    ):
        if issubclass(kinds[0], base):
            return zero
    raise TypeError(f"no default known for {kinds[0]}")
