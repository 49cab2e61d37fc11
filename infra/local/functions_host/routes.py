"""HTTP routes in ASP.NET's syntax: `items/{id:int}/{name?}`, matched without regard to case."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from infra.local.functions_host.bindings import IndexedFunction
from infra.local.functions_host.errors import AppRefused

ALL_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"})
RESERVED = ("admin", "runtime")
_SEGMENT = re.compile(
    r"\{(?P<catch>\*{0,2})(?P<name>[A-Za-z_]\w*)(?P<constraints>(?::[^{}=?]+)*)(?:=(?P<default>[^{}?]*))?(?P<optional>\?)?\}"
)
_CONSTRAINT = re.compile(r":(?P<name>\w+)(?:\((?P<argument>[^)]*)\))?")


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_whole(bits: int) -> Callable[[str], bool]:
    limit = 2 ** (bits - 1)
    return lambda text: bool(re.fullmatch(r"[+-]?\d{1,19}", text, re.ASCII)) and -limit <= int(text) < limit


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "int": _is_whole(32),
    "long": _is_whole(64),
    "bool": lambda text: text.lower() in ("true", "false"),
    "guid": _is_uuid,
    "alpha": lambda text: text.isascii() and text.isalpha(),
    "decimal": _is_number,
    "double": _is_number,
    "float": _is_number,
}


@dataclass(frozen=True)
class _Part:
    literal: str = ""
    name: str = ""
    checks: tuple[Callable[[str], bool], ...] = ()
    default: str | None = None
    optional: bool = False
    catch_all: bool = False

    @property
    def rank(self) -> int:
        """Smaller is tried first: literals, constrained parameters, parameters, catch-alls."""
        if self.literal:
            return 0
        if self.catch_all:
            return 3
        return 1 if self.checks else 2


class Route:
    """One function's route below the prefix. Raises ValueError for a template that cannot be understood."""

    def __init__(self, template: str) -> None:
        self.template = template.strip("/")
        self._parts = tuple(_parse(text) for text in self.template.split("/") if text)

    @property
    def precedence(self) -> tuple[int, ...]:
        """Sort key: the more particular route is tried first."""
        return tuple(part.rank for part in self._parts)

    def match(self, path: str) -> dict[str, str] | None:
        """The route values, as text, of a raw path below the prefix; None when it does not match."""
        segments = [segment for segment in path.split("/") if segment]
        values: dict[str, str] = {}
        for index, part in enumerate(self._parts):
            if part.catch_all:
                values[part.name] = unquote("/".join(segments[index:]))
                return values
            if index >= len(segments):
                if part.default is not None:
                    values[part.name] = part.default
                elif not part.optional:
                    return None
                continue
            value = unquote(segments[index])
            if part.literal:
                if value.lower() != part.literal.lower():
                    return None
            elif all(check(value) for check in part.checks):
                values[part.name] = value
            else:
                return None
        return values if len(segments) <= len(self._parts) else None


def _parse(text: str) -> _Part:
    if "{" not in text and "}" not in text:
        return _Part(literal=text)
    match = _SEGMENT.fullmatch(text)
    if match is None:
        raise ValueError(f"the route segment {text!r} cannot be understood")
    checks = tuple(_check(found["name"], found["argument"]) for found in _CONSTRAINT.finditer(match["constraints"]))
    return _Part(
        name=match["name"],
        checks=checks,
        default=match["default"],
        optional=bool(match["optional"]),
        catch_all=bool(match["catch"]),
    )


def _check(name: str, argument: str | None) -> Callable[[str], bool]:
    if argument is None:
        if name not in _CHECKS:
            raise ValueError(f"the route constraint {name!r} is unknown")
        return _CHECKS[name]
    numbers = [int(number) for number in argument.split(",")] if name != "regex" else []
    if name == "regex":
        pattern = re.compile(argument, re.IGNORECASE)
        return lambda text: pattern.search(text) is not None
    low, high = numbers[0], numbers[-1]
    return {
        "min": lambda text: _is_number(text) and float(text) >= low,
        "max": lambda text: _is_number(text) and float(text) <= high,
        "range": lambda text: _is_number(text) and low <= float(text) <= high,
        "minlength": lambda text: len(text) >= low,
        "maxlength": lambda text: len(text) <= high,
        "length": lambda text: low <= len(text) <= high,
    }[name]


@dataclass(frozen=True)
class Endpoint:
    """An HTTP function and how it is reached."""

    function: IndexedFunction
    route: Route
    methods: frozenset[str]
    level: str

    @classmethod
    def of(cls, function: IndexedFunction) -> Endpoint:
        """Read the HTTP trigger of a function. Raises ValueError for a bad route."""
        properties = function.trigger.binding.properties
        methods = {str(method).upper() for method in properties.get("methods") or ()}
        return cls(
            function=function,
            route=Route(str(properties.get("route") or function.name)),
            methods=frozenset(methods) or ALL_METHODS,
            level=str(properties.get("authLevel") or "function").lower(),
        )


class RouteTable:
    """Finds the function for a request. Raises AppRefused for routes that clash or are reserved."""

    def __init__(self, functions: Iterable[IndexedFunction], prefix: str) -> None:
        self._prefix = [segment.lower() for segment in prefix.split("/") if segment]
        problems: list[str] = []
        self.endpoints: list[Endpoint] = []
        for function in functions:
            try:
                endpoint = Endpoint.of(function)
            except (ValueError, KeyError, IndexError, re.error) as error:
                problems.append(f"{function.name}: bad route: {error}")
                continue
            problems += self._clashes(endpoint)
            self.endpoints.append(endpoint)
        if problems:
            raise AppRefused(problems)
        self.endpoints.sort(key=lambda endpoint: endpoint.route.precedence)

    def find(self, method: str, raw_path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint and route values for a raw (still quoted) path; None means 404, wrong method too."""
        segments = [segment for segment in raw_path.split("/") if segment]
        if [unquote(segment).lower() for segment in segments[: len(self._prefix)]] != self._prefix:
            return None
        below = "/".join(segments[len(self._prefix) :])
        for endpoint in self.endpoints:
            if method in endpoint.methods:
                values = endpoint.route.match(below)
                if values is not None:
                    return endpoint, values
        return None

    def _clashes(self, endpoint: Endpoint) -> list[str]:
        name = endpoint.function.name
        template = endpoint.route.template.lower()
        if not self._prefix and template.split("/")[0] in RESERVED:
            return [f"{name}: the route {template!r} conflicts with built-in routes"]
        return [
            f"{name}: the route {template!r} is that of {other.function.name} too"
            for other in self.endpoints
            if other.route.template.lower() == template and other.methods & endpoint.methods
        ]
