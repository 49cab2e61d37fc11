"""host.json, read once into frozen options with the real host's names, defaults and limits."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from infra.local.functions_host.errors import ConfigurationError
from infra.local.functions_host.timespan import parse_timespan

MAX_BODY_BYTES = 104_857_600


@dataclass(frozen=True)
class QueueOptions:
    """`extensions.queues`; intervals as durations."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout: timedelta = timedelta(0)
    max_polling_interval: timedelta = timedelta(minutes=1)
    base64: bool = True


@dataclass(frozen=True)
class HttpOptions:
    """`extensions.http`; None means no limit, as on every plan but the dynamic ones."""

    route_prefix: str = "api"
    max_concurrent_requests: int | None = None
    max_outstanding_requests: int | None = None


@dataclass(frozen=True)
class HostJson:
    """The settings this host obeys; the rest of host.json is for Azure."""

    function_timeout: timedelta | None = timedelta(minutes=30)
    queues: QueueOptions = field(default_factory=QueueOptions)
    http: HttpOptions = field(default_factory=HttpOptions)
    max_blob_parallelism: int = 8
    log_levels: dict[str, str] = field(default_factory=dict)


def read_host_json(path: Path) -> HostJson:
    """The options of `path`. Raises ConfigurationError naming the key that is wrong."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path} is missing: the folder is no function app") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("version") != "2.0":
        raise ConfigurationError(f'{path} has to be an object with "version": "2.0"')
    root = _Section(content, str(path))
    extensions = root.section("extensions")
    cores = os.cpu_count() or 1
    levels = root.section("logging").section("logLevel").content
    return HostJson(
        function_timeout=_function_timeout(root),
        queues=_queues(extensions.section("queues"), cores),
        http=_http(extensions.section("http")),
        max_blob_parallelism=extensions.section("blobs").integer("maxDegreeOfParallelism", 8 * cores, 1),
        log_levels={str(category): str(level) for category, level in levels.items()},
    )


def _queues(section: _Section, cores: int) -> QueueOptions:
    batch_size = section.integer("batchSize", 16, 1, 32)
    encoding = str(section.content.get("messageEncoding", "base64")).lower()
    if encoding not in ("base64", "none"):
        raise ConfigurationError(f"{section.name}.messageEncoding has to be base64 or none, not {encoding}")
    return QueueOptions(
        batch_size=batch_size,
        new_batch_threshold=section.integer("newBatchThreshold", batch_size // 2 * cores, 0),
        max_dequeue_count=section.integer("maxDequeueCount", 5, 1),
        visibility_timeout=section.duration("visibilityTimeout", timedelta(0)),
        max_polling_interval=section.duration("maxPollingInterval", timedelta(minutes=1)),
        base64=encoding == "base64",
    )


def _http(section: _Section) -> HttpOptions:
    def limit(key: str) -> int | None:
        value = section.integer(key, -1, -1)
        return None if value == -1 else value

    return HttpOptions(
        route_prefix=str(section.content.get("routePrefix", "api")).strip("/"),
        max_concurrent_requests=limit("maxConcurrentRequests"),
        max_outstanding_requests=limit("maxOutstandingRequests"),
    )


def _function_timeout(root: _Section) -> timedelta | None:
    if str(root.content.get("functionTimeout")) == "-1":
        return None
    return root.duration("functionTimeout", timedelta(minutes=30))


@dataclass(frozen=True)
class _Section:
    """One object of host.json that knows its own path, for messages."""

    content: dict[str, Any]
    name: str

    def section(self, key: str) -> _Section:
        value = self.content.get(key) or {}
        if not isinstance(value, dict):
            raise ConfigurationError(f"{self.name}.{key} has to be an object")
        return _Section(value, f"{self.name}.{key}")

    def integer(self, key: str, default: int, low: int, high: int | None = None) -> int:
        value = self.content.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise ConfigurationError(f"{self.name}.{key} has to be a whole number from {low}, not {value!r}")
        if high is not None and value > high:
            raise ConfigurationError(f"{self.name}.{key} has to be at most {high}, not {value}")
        return value

    def duration(self, key: str, default: timedelta) -> timedelta:
        if key not in self.content:
            return default
        try:
            span = parse_timespan(str(self.content[key]))
        except ValueError as error:
            raise ConfigurationError(f"{self.name}.{key}: {error}") from error
        if span < timedelta(0):
            raise ConfigurationError(f"{self.name}.{key} has to be zero or more")
        return span
