"""Access keys of the host and its functions, in a file that only its owner reads."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.functions_host.errors import ConfigurationError

FILE_NAME = "keys.json"
_KEY_BYTES = 32


@dataclass(frozen=True)
class AccessKeys:
    """The keys of one host: the master key, the host's function keys, and each function's own."""

    master: str
    host: Mapping[str, str]
    functions: Mapping[str, Mapping[str, str]]

    def admits(self, level: str, function: str, key: str | None) -> bool:
        """Whether `key` opens `function`, whose level is anonymous, function or admin.

        The master key opens everything, another function's key nothing.
        """
        if level == "anonymous":
            return True
        if key is None:
            return False
        admitted = [self.master]
        if level == "function":
            admitted += [*self.host.values(), *self.functions.get(function, {}).values()]
        # All are compared, in constant time each, so that timing tells nothing about a key.
        return sum(hmac.compare_digest(key.encode(), known.encode()) for known in admitted) > 0

    def is_master(self, key: str | None) -> bool:
        """Whether `key` opens the admin endpoints."""
        return key is not None and hmac.compare_digest(key.encode(), self.master.encode())


def open_keys(data_dir: Path, functions: Iterable[str]) -> AccessKeys:
    """The keys kept in `data_dir`, made on first use; functions new to the file get a key.

    The file has mode 0600. Raises ConfigurationError when it is damaged: keys are never replaced silently.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / FILE_NAME
    stored = _read(path)
    keys = AccessKeys(
        master=stored.master if stored else _new_key(),
        host=stored.host if stored else {"default": _new_key()},
        functions={
            **{name: {"default": _new_key()} for name in functions},
            **(stored.functions if stored else {}),
        },
    )
    if keys != stored:
        _write(path, keys)
    return keys


def _read(path: Path) -> AccessKeys | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return AccessKeys(content["masterKey"], content["functionKeys"], content["functions"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} holds no keys; delete it to make new ones") from error


def _write(path: Path, keys: AccessKeys) -> None:
    content = {"masterKey": keys.master, "functionKeys": keys.host, "functions": keys.functions}
    part = path.with_suffix(f".{os.getpid()}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
    part.replace(path)


def _new_key() -> str:
    return secrets.token_urlsafe(_KEY_BYTES)
