"""App settings: environment variables first, then the `Values` of local.settings.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from infra.local import azurite
from infra.local.functions_host.errors import ConfigurationError

DEFAULT_CONNECTION = "AzureWebJobsStorage"
_SETTING = re.compile(r"%([^%\s]+)%")


def merge_local_settings(path: Path, environment: MutableMapping[str, str]) -> None:
    """Add the `Values` of local.settings.json to `environment`; what is set there already wins, as in `func`.

    A missing file is no error. Raises ConfigurationError for an encrypted or malformed one.
    """
    if not path.exists():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        values = content.get("Values", {})
        encrypted = content.get("IsEncrypted", False)
    except (ValueError, AttributeError) as error:
        raise ConfigurationError(f"{path} is not the JSON object of a settings file: {error}") from error
    if encrypted:
        raise ConfigurationError(f"{path} is encrypted; run `func settings decrypt` first")
    for name, value in values.items():
        if not isinstance(value, str):
            raise ConfigurationError(f"{path}: the value of {name} has to be a string")
        environment.setdefault(name, value)


class AppSettings:
    """Reads connections and `%NAME%` references the way the Functions host does."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def get(self, name: str) -> str | None:
        """The setting, or None."""
        return self._environment.get(name)

    def is_disabled(self, function: str) -> bool:
        """Whether `AzureWebJobs.<function>.Disabled`, or its form with underscores, is true."""
        names = (f"AzureWebJobs.{function}.Disabled", f"AzureWebJobs_{function}_Disabled")
        return any((self._environment.get(name) or "").lower() in ("1", "true") for name in names)

    def expand(self, text: str) -> str:
        """`text` with every `%NAME%` replaced. Raises ConfigurationError for a name that is not set."""

        def replace(match: re.Match[str]) -> str:
            value = self._environment.get(match[1])
            if value is None:
                raise ConfigurationError(f"the app setting {match[1]}, used as {match[0]}, is not set")
            return value

        return _SETTING.sub(replace, text)

    def connection_string(self, name: str) -> str:
        """The storage connection string that a binding's `connection` (or "") stands for.

        Raises ConfigurationError when it is missing or names an identity, which needs Azure.
        """
        name = name or DEFAULT_CONNECTION
        for candidate in (f"AzureWebJobs{name}", name):
            value = self._environment.get(candidate)
            if value:
                return _expand_development_storage(value, candidate)
        if any(setting.startswith(f"{name}__") for setting in self._environment):
            raise ConfigurationError(
                f"the connection {name} is identity-based ({name}__...); this host needs a connection string"
            )
        raise ConfigurationError(f"the connection {name} is not set: give the app setting {name}")


def _expand_development_storage(value: str, name: str) -> str:
    parts = dict(part.split("=", 1) for part in value.split(";") if "=" in part)
    if parts.get("UseDevelopmentStorage", "").lower() == "true":
        return azurite.connection_string(azurite.Ports())
    if not {"AccountName", "BlobEndpoint", "QueueEndpoint"} & parts.keys():
        # The value is a secret: the message must not repeat it.
        raise ConfigurationError(f"the app setting {name} is not a storage connection string")
    return value
