"""Why a host stops, one class per exit code.

HostError
├── ConfigurationError   2  host.json, settings or options are wrong
├── AppRefused           3  the Python worker would not index this app
└── AddressInUse         5  another process listens on the port
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_FUNCTION_TIMEOUT = 4
"""The process ended itself because an invocation outlived functionTimeout; start it again."""


class HostError(Exception):
    """The host cannot start; the message is meant for the person who started it."""

    exit_code = 1


class ConfigurationError(HostError):
    """host.json, the app settings or a binding's settings are wrong."""

    exit_code = 2


class AppRefused(HostError):
    """The app would run with zero functions in Azure; `problems` names every cause found."""

    exit_code = 3

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"this function app is refused: in Azure it would have 0 functions, every route 404.{lines}")


class AddressInUse(HostError):
    """Another process listens on the address asked for."""

    exit_code = 5
