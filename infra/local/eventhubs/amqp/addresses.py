"""Where a link points to, and where a receiver wants to begin."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from .errors import ARGUMENT_ERROR, NOT_FOUND, LinkRefused
from .values import Described

_PARTITION = re.compile(r"(?P<hub>[^/]+)/partitions/(?P<partition>\d{1,5})", re.IGNORECASE)
_RECEIVER = re.compile(
    r"(?P<hub>[^/]+)/consumergroups/(?P<group>[^/]+)/partitions/(?P<partition>\d{1,5})", re.IGNORECASE
)
_SELECTOR = re.compile(
    r"\s*amqp\.annotation\.x-opt-(?P<by>offset|sequence-number|enqueued-time(?:-utc)?)\s*(?P<operator>>=|>)\s*"
    r"'(?P<value>[^']*)'\s*"
)
_FILTER_NAMES = ("apache.org:selector-filter:string", 0x0000468C00000004)
_FILTERS_FIELD = 7


@dataclass(frozen=True, slots=True)
class SendTo:
    """A hub, or one partition of it."""

    hub: str
    partition: int | None

    @property
    def path(self) -> str:
        """What a token must cover."""
        return self.hub if self.partition is None else f"{self.hub}/Partitions/{self.partition}"


@dataclass(frozen=True, slots=True)
class ReceiveFrom:
    """A partition as a consumer group sees it."""

    hub: str
    group: str
    partition: int

    @property
    def path(self) -> str:
        """What a token must cover."""
        return f"{self.hub}/ConsumerGroups/{self.group}/Partitions/{self.partition}"


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin: at, or after, an offset, or a time in epoch milliseconds. `latest` is the partition's end."""

    by: Literal["offset", "time", "latest"] = "offset"
    value: int = -1
    inclusive: bool = False


def path_of(address: str) -> str:
    """The path of an address, which may be a whole URI; LinkRefused if it is none."""
    try:
        return unquote(urlsplit(address).path if "://" in address else address).strip("/")
    except ValueError as error:
        raise LinkRefused(NOT_FOUND, f"{address!r} is no address: {error}") from error


def send_target(address: str) -> SendTo:
    """What a sender's target address means; LinkRefused if nothing."""
    path = path_of(address)
    match = _PARTITION.fullmatch(path)
    if match:
        return SendTo(match["hub"], int(match["partition"]))
    if not path or "/" in path:
        raise LinkRefused(NOT_FOUND, f"{path!r} is neither HUB nor HUB/Partitions/N")
    return SendTo(path, None)


def receive_source(address: str) -> ReceiveFrom:
    """What a receiver's source address means; LinkRefused if nothing."""
    path = path_of(address)
    match = _RECEIVER.fullmatch(path)
    if match is None:
        raise LinkRefused(NOT_FOUND, f"{path!r} is not HUB/ConsumerGroups/GROUP/Partitions/N")
    return ReceiveFrom(match["hub"], match["group"], int(match["partition"]))


def source_filter(source: list[object]) -> str | None:
    """The selector in an attach's source, or None."""
    filters = source[_FILTERS_FIELD] if len(source) > _FILTERS_FIELD else None
    if not filters:
        return None
    if not isinstance(filters, dict):
        raise LinkRefused(ARGUMENT_ERROR, "the source's filter must be a map")
    for name, value in filters.items():
        content = value.value if isinstance(value, Described) else value
        if name in _FILTER_NAMES or (isinstance(value, Described) and value.descriptor in _FILTER_NAMES):
            if isinstance(content, bytes):
                content = content.decode(errors="replace")
            if isinstance(content, str):
                return content
        raise LinkRefused(ARGUMENT_ERROR, f"the filter {name!r} is not known")
    return None


def start_of(selector: str | None) -> Start:
    """What the selector asks for; from the beginning without one."""
    if selector is None:
        return Start()
    match = _SELECTOR.fullmatch(selector)
    if match is None:
        raise LinkRefused(ARGUMENT_ERROR, f"the filter {selector!r} is not understood")
    value, inclusive = match["value"], match["operator"] == ">="
    if match["by"] == "offset" and value == "@latest":
        return Start("latest", inclusive=inclusive)
    if not re.fullmatch(r"-?\d{1,19}", value):
        raise LinkRefused(ARGUMENT_ERROR, f"the filter {selector!r} needs a number")
    by: Literal["offset", "time"] = "time" if match["by"].startswith("enqueued") else "offset"
    return Start(by, int(value), inclusive)
