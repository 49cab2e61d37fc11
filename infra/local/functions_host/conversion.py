"""Between storage and Python values, through the converters of the azure-functions library itself.

So the objects a function receives have exactly the types, and the errors, that the worker gives it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from azure.functions.meta import Datum, get_binding_registry

from infra.local.functions_host.bindings import Parameter

GENERIC = "generic"


class GenericConverter:
    """Parameters annotated `str` or `bytes`, and binding types the library has no converter for."""

    @staticmethod
    def check_input_type_annotation(python_type: type) -> bool:
        """Whether a parameter may be annotated so."""
        return issubclass(python_type, str | bytes)

    @staticmethod
    def check_output_type_annotation(python_type: type) -> bool:
        """Whether an output or a return value may be annotated so."""
        return issubclass(python_type, str | bytes | bytearray)

    @staticmethod
    def decode(data: Datum, *, trigger_metadata: Mapping[str, Datum]) -> Any:
        """The raw value; JSON stays text."""
        return data.value

    @staticmethod
    def encode(value: Any, *, expected_type: Any) -> Datum:
        """A string or binary datum. Raises NotImplementedError for other types."""
        if value is None:
            return Datum(None, None)
        if isinstance(value, str):
            return Datum(value, "string")
        if isinstance(value, bytes | bytearray):
            return Datum(bytes(value), "bytes")
        raise NotImplementedError


def converter(name: str) -> Any:
    """The class that decodes and encodes a binding type; untyped, because the library's is."""
    return get_binding_registry().get(name) or GenericConverter


def decode(parameter: Parameter, data: Datum, metadata: Mapping[str, Datum]) -> Any:
    """The argument for a trigger or input parameter. Raises TypeError or ValueError as the worker does."""
    try:
        return converter(parameter.converter).decode(data, trigger_metadata=metadata)
    except NotImplementedError as error:
        raise TypeError(
            f"unable to decode incoming TypedData: unsupported combination of TypedData field "
            f"{data.type!r} and expected binding type {parameter.converter}"
        ) from error


def encode(parameter: Parameter, value: Any) -> Datum:
    """What an output or return value becomes. Raises TypeError for a type its binding cannot carry."""
    try:
        datum: Datum = converter(parameter.converter).encode(value, expected_type=parameter.python_type)
    except NotImplementedError as error:
        raise TypeError(
            f'unable to encode outgoing TypedData: unsupported type "{parameter.converter}" for '
            f'Python type "{type(value).__name__}"'
        ) from error
    return datum


def json_datum(value: Any) -> Datum:
    """A datum as the host sends objects, numbers and dates: JSON text."""
    return Datum(json.dumps(value), "json")


def text_datum(value: str) -> Datum:
    """A datum as the host sends strings."""
    return Datum(value, "string")
