"""Reading configuration files: the official emulator's `Config.json`, and a file of access keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from .errors import CannotStart
from .namespace import EMULATOR_KEY, EVERY_RIGHT, ROOT_KEY_NAME, AccessKey, Entity, Right

KEY_VARIABLE = "EVENTHUBS_SHARED_ACCESS_KEY"
"""Environment variable with the value of `RootManageSharedAccessKey`."""
_Shape = TypeVar("_Shape")


class _Group(msgspec.Struct, rename="pascal"):
    name: str


class _Entity(msgspec.Struct, rename="pascal"):
    name: str
    partition_count: int
    consumer_groups: list[_Group] = []


class _Namespace(msgspec.Struct, rename="pascal"):
    name: str
    entities: list[_Entity]
    type: str = "EventHub"


class _UserConfig(msgspec.Struct, rename="pascal"):
    namespace_config: list[_Namespace]


class _Config(msgspec.Struct, rename="pascal"):
    user_config: _UserConfig


class _Policy(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    key: str
    rights: set[Right] = msgspec.field(default_factory=lambda: set(EVERY_RIGHT))


def read_config(path: Path) -> tuple[str, list[Entity]]:
    """The namespace's name and its hubs, from a file in the emulator's format; CannotStart says what is wrong.

    Numbers may be written as strings, as in Microsoft's own sample. `LoggingConfig` is read over.
    """
    namespaces = _read(path, _Config).user_config.namespace_config
    if len(namespaces) != 1:
        raise CannotStart(f"{path}: NamespaceConfig must hold one namespace, it holds {len(namespaces)}")
    namespace = namespaces[0]
    if namespace.type.lower() != "eventhub":
        raise CannotStart(f"{path}: the namespace's Type must be EventHub, not {namespace.type!r}")
    return namespace.name, [
        Entity(each.name, each.partition_count, frozenset(group.name for group in each.consumer_groups))
        for each in namespace.entities
    ]


def read_keys(path: Path | None, environment: Mapping[str, str] = os.environ) -> tuple[AccessKey, ...]:
    """The access keys: of the file if there is one, else the root key from the environment, else the emulator's.

    The file is a JSON list of `{"name": ..., "key": ..., "rights": ["send", "listen", "manage"]}`.
    """
    if path is None:
        return (AccessKey(ROOT_KEY_NAME, environment.get(KEY_VARIABLE) or EMULATOR_KEY),)
    policies = _read(path, list[_Policy])
    if not policies or not all(each.name and each.key for each in policies):
        raise CannotStart(f"{path}: expected at least one key, each with a name and a value")
    if len({each.name for each in policies}) < len(policies):
        raise CannotStart(f"{path}: two keys have one name")
    return tuple(AccessKey(each.name, each.key, frozenset(each.rights)) for each in policies)


def _read(path: Path, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape, strict=False)
    except OSError as error:
        raise CannotStart(f"{path}: {error.strerror}") from error
    except msgspec.ValidationError as error:
        raise CannotStart(f"{path}: {error}") from error
    except msgspec.DecodeError as error:
        raise CannotStart(f"{path} is not JSON: {error}") from error
