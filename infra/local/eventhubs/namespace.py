"""The namespace as it was configured: its hubs with their consumer groups, its access keys, its tier.

Whoever holds no configuration file gets what the official emulator has: the key `RootManageSharedAccessKey` with the
value `SAS_KEY_VALUE`, and the consumer group `$Default` in every hub.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from .errors import CannotStart
from .tiers import LOCAL, Tier

Right = Literal["manage", "send", "listen"]
EVERY_RIGHT: frozenset[Right] = frozenset({"manage", "send", "listen"})
DEFAULT_GROUP = "$Default"
ROOT_KEY_NAME = "RootManageSharedAccessKey"
EMULATOR_KEY = "SAS_KEY_VALUE"
_MAX_NAME = 50


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A shared access policy. Its key never shows in a representation, so it cannot get into a log."""

    name: str
    key: str = field(repr=False)
    rights: frozenset[Right] = EVERY_RIGHT
    """`manage` includes the other two."""

    def allows(self, right: Right) -> bool:
        """Whether its holder may do this."""
        return right in self.rights or "manage" in self.rights


@dataclass(frozen=True, slots=True)
class Entity:
    """A hub that the configuration asks for. `consumer_groups` need not name `$Default`."""

    name: str
    partitions: int
    consumer_groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Namespace:
    """What does not change while the hub runs. Hubs that clients create have the consumer group `$Default` only."""

    name: str = "emulatorNs1"
    tier: Tier = LOCAL
    entities: Mapping[str, Entity] = field(default_factory=dict)
    keys: tuple[AccessKey, ...] = (AccessKey(ROOT_KEY_NAME, EMULATOR_KEY),)
    require_keys: bool = False
    """Whether clients that show no key are refused; a wrong key is always refused."""

    def consumer_groups(self, hub: str) -> frozenset[str]:
        """The consumer groups of a hub, for AMQP receivers."""
        entity = self.entities.get(hub)
        return frozenset({DEFAULT_GROUP}) | (entity.consumer_groups if entity is not None else frozenset())

    def has_consumer_group(self, hub: str, group: str) -> bool:
        """Whether the hub has this consumer group; upper and lower case are the same."""
        return group.lower() in {each.lower() for each in self.consumer_groups(hub)}

    def key_named(self, name: str) -> AccessKey | None:
        """The policy of this name, to check a signature against; None if there is none."""
        return next((each for each in self.keys if each.name == name), None)

    def authenticate(self, name: str, key: str) -> AccessKey | None:
        """The policy, if this is its key."""
        policy = self.key_named(name)
        if policy is None or not hmac.compare_digest(policy.key.encode(), key.encode()):
            return None
        return policy


def checked_entities(entities: Iterable[Entity], tier: Tier) -> dict[str, Entity]:
    """The hubs by name, if the tier allows them; otherwise CannotStart."""
    by_name: dict[str, Entity] = {}
    for entity in entities:
        if entity.name in by_name:
            raise CannotStart(f"hub {entity.name!r} is configured twice")
        by_name[entity.name] = entity
        if not 1 <= entity.partitions <= tier.max_partitions:
            raise CannotStart(
                f"hub {entity.name!r}: {entity.partitions} partitions, a hub has 1 to {tier.max_partitions}"
            )
        groups = entity.consumer_groups | {DEFAULT_GROUP}
        if len(groups) > tier.max_consumer_groups:
            raise CannotStart(
                f"hub {entity.name!r} has {len(groups)} consumer groups with {DEFAULT_GROUP}, the tier "
                f"{tier.name} allows {tier.max_consumer_groups}"
            )
        for group in groups:
            if not 1 <= len(group) <= _MAX_NAME:
                raise CannotStart(f"hub {entity.name!r}: a consumer group's name has 1 to {_MAX_NAME} characters")
    if tier.max_hubs is not None and len(by_name) > tier.max_hubs:
        raise CannotStart(f"{len(by_name)} hubs are configured, the tier {tier.name} allows {tier.max_hubs}")
    return by_name
