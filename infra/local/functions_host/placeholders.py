"""Binding expressions: `{name}` in blob paths and queue names, as values and as patterns."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")


class UnresolvedExpression(ValueError):
    """A `{name}` for which the trigger brings no value."""


def names_in(template: str) -> set[str]:
    """The placeholder names of `template`, without formats."""
    return {match[1].partition(":")[0] for match in _TOKEN.finditer(template) if match[1]}


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with its placeholders replaced; names compare case-insensitively.

    `{rand-guid}` is a new GUID and `{DateTime}` the time in UTC at each use, so an output named by them is a
    new blob at every replay. Raises UnresolvedExpression for a name without a value.
    """
    lowered = {name.lower(): value for name, value in values.items()}

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        name, _, form = match[1].partition(":")
        if name.lower() in lowered:
            return lowered[name.lower()]
        if name.lower() == "rand-guid":
            return uuid.uuid4().hex if form.upper() == "N" else str(uuid.uuid4())
        if name.lower() == "datetime":
            return _format_time(datetime.now(UTC), form)
        raise UnresolvedExpression(f"no value for {match[0]} in {template!r}; known: {sorted(values)}")

    return _TOKEN.sub(replace, template)


def _format_time(moment: datetime, form: str) -> str:
    if not form:
        return moment.strftime("%Y-%m-%dT%H-%M-%SZ")
    for dotnet, python in (
        ("yyyy", "%Y"),
        ("MM", "%m"),
        ("dd", "%d"),
        ("HH", "%H"),
        ("mm", "%M"),
        ("ss", "%S"),
    ):
        form = form.replace(dotnet, python)
    return moment.strftime(form)


class BlobPattern:
    """A blob trigger's path: a container and a pattern for the blob's name."""

    def __init__(self, path: str) -> None:
        self.container, _, name = path.strip("/").partition("/")
        if not self.container or "{" in self.container:
            raise ValueError(f"a blob trigger's path starts with the container's name, got {path!r}")
        self._template = name or "{name}"
        self._regex = re.compile(_to_regex(self._template), re.DOTALL)

    @property
    def prefix(self) -> str:
        """What every matching blob's name begins with; listing starts there."""
        head = re.split(r"\{", self._template, maxsplit=1)[0]
        return head.replace("}}", "}")

    def match(self, blob: str) -> dict[str, str] | None:
        """The values of the placeholders in a blob's name, or None when it does not match."""
        found = self._regex.fullmatch(blob)
        if found is None:
            return None
        return {_decode_group(name): value for name, value in found.groupdict().items()}


def _to_regex(template: str) -> str:
    parts: list[str] = []
    position = 0
    for match in _TOKEN.finditer(template):
        parts.append(re.escape(template[position : match.start()]))
        parts.append(re.escape(match[0][0]) if match[1] is None else f"(?P<{_encode_group(match[1])}>.+)")
        position = match.end()
    return "".join(parts) + re.escape(template[position:])


def _encode_group(name: str) -> str:
    # A placeholder may hold characters that a group's name may not.
    return "g" + name.encode().hex()


def _decode_group(group: str) -> str:
    return bytes.fromhex(group[1:]).decode()
