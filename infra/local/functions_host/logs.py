"""One JSON line per event on stderr, with the invocation it belongs to and never a secret."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime

current_invocation: contextvars.ContextVar[tuple[str, str] | None] = contextvars.ContextVar(
    "current_invocation", default=None
)
"""Invocation id and function name, for every line logged while a function runs."""

thread_invocation = threading.local()
"""What a function hands to threads of its own: `context.thread_local_storage.invocation_id = ...`."""

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "information": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "none": logging.CRITICAL + 1,
}
_FIELDS = ("ms", "status", "method", "path")


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object; line breaks, also those of tracebacks, are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with the running invocation's id and function."""
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        running = current_invocation.get()
        invocation = running[0] if running else getattr(thread_invocation, "invocation_id", None)
        if invocation:
            line["invocation"] = invocation
        if running:
            line["function"] = running[1]
        for name in _FIELDS:
            if hasattr(record, name):
                line[name] = getattr(record, name)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(levels: Mapping[str, str]) -> None:
    """Send every logger of the process to stderr at host.json's `logLevel.default`.

    The Azure SDK and the HTTP server speak from warnings on: at lower levels they print request headers and
    URLs, which carry signatures and keys.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=_level(levels.get("default", "Information")), force=True)
    for noisy in ("azure", "uvicorn", "asyncio", "urllib3"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
    for category, logger in (("Function", "functions_host.function"), ("Host", "functions_host")):
        if category in levels:
            logging.getLogger(logger).setLevel(_level(levels[category]))


def _level(name: str) -> int:
    return _LEVELS.get(name.lower(), logging.INFO)
