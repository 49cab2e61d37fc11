"""Which topics there are: names, partition counts, settings, kept in a journal."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import msgspec

from .errors import InvalidPartitions, InvalidTopic, LimitReached, TopicExists, UnknownTopic
from .log.flush import Flusher
from .log.journal import Journal
from .tiers import LOCAL, Tier
from .topic_configs import checked_configs

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class Topic(msgspec.Struct, frozen=True):
    """A topic as created and grown. `configs` holds only what was set for it, by Kafka's names."""

    name: str
    id: uuid.UUID
    partitions: int
    configs: dict[str, str] = {}

    @property
    def directory(self) -> str:
        """Its folder's name; a topic deleted and created again gets another one."""
        return f"{self.name}.{self.id.hex[:8]}"

    @property
    def compacted(self) -> bool:
        """Whether of each key the last value is enough."""
        return "compact" in self.configs.get("cleanup.policy", "delete")

    @property
    def expires(self) -> bool:
        """Whether old records go, compacted or not."""
        return "delete" in self.configs.get("cleanup.policy", "delete")

    def limit(self, config: str, otherwise: int) -> int:
        """An integer setting of the topic, or the hub's own."""
        return int(self.configs.get(config, otherwise))


class _Put(msgspec.Struct, frozen=True, tag="put"):
    topic: Topic


class _Deleted(msgspec.Struct, frozen=True, tag="deleted"):
    name: str
    directory: str


class Catalogue:
    """The topics by name. Every change is durable when the method returns."""

    def __init__(self, path: Path, flusher: Flusher, max_partitions: int, tier: Tier = LOCAL) -> None:
        self.topics: dict[str, Topic] = {}
        self.deleted_directories: set[str] = set()
        """Folders that a crash may have left behind."""
        self._max_partitions = max_partitions
        self._tier = tier
        self._journal = Journal(path, flusher, self._replay)
        if self._journal.messages > 2 * len(self.topics) + 100:
            self._journal.rewrite(msgspec.json.encode(_Put(topic)) for topic in self.topics.values())

    def _replay(self, payload: bytes) -> None:
        change = msgspec.json.decode(payload, type=_Put | _Deleted)
        if isinstance(change, _Put):
            self.topics[change.topic.name] = change.topic
        else:
            self.topics.pop(change.name, None)
            self.deleted_directories.add(change.directory)

    def get(self, name: str) -> Topic:
        """The topic, or UnknownTopic."""
        try:
            return self.topics[name]
        except KeyError:
            raise UnknownTopic(f"there is no topic {name!r}") from None

    def plan(self, name: str, partitions: int, configs: dict[str, str]) -> Topic:
        """A topic that `put` may add, or InvalidTopic, TopicExists or LimitReached."""
        if not _NAME.fullmatch(name) or name in {".", ".."}:
            raise InvalidTopic(f"{name!r}: a topic's name has 1 to 249 of the characters a-z A-Z 0-9 . _ -")
        if name in self.topics:
            raise TopicExists(f"topic {name!r} exists already")
        self._check_partitions(partitions)
        if self._tier.max_hubs is not None and len(self.topics) >= self._tier.max_hubs:
            raise LimitReached(f"the tier {self._tier.name} allows {self._tier.max_hubs} hubs")
        return Topic(name, uuid.uuid4(), partitions, checked_configs(configs, self._tier))

    def plan_configs(self, name: str, configs: dict[str, str]) -> Topic:
        """The topic with exactly these settings, for `put`; or UnknownTopic or InvalidConfig."""
        return msgspec.structs.replace(self.get(name), configs=checked_configs(configs, self._tier))

    def _check_partitions(self, partitions: int) -> None:
        if not 1 <= partitions <= self._max_partitions:
            raise InvalidPartitions(f"a topic has 1 to {self._max_partitions} partitions, not {partitions}")

    def plan_growth(self, name: str, partitions: int) -> Topic:
        """The topic with more partitions, for `put`; or UnknownTopic or InvalidPartitions."""
        topic = self.get(name)
        self._check_partitions(partitions)
        if partitions <= topic.partitions:
            raise InvalidPartitions(
                f"topic {name!r} has {topic.partitions} partitions already; they can only become more"
            )
        return msgspec.structs.replace(topic, partitions=partitions)

    def put(self, topic: Topic) -> None:
        """Add a topic, or replace the one of its name."""
        self._journal.append_now(msgspec.json.encode(_Put(topic)))
        self.topics[topic.name] = topic

    def delete(self, name: str) -> Topic:
        """Forget a topic; its files are the caller's to remove."""
        topic = self.get(name)
        self._journal.append_now(msgspec.json.encode(_Deleted(name, topic.directory)))
        return self.topics.pop(name)

    def close(self) -> None:
        """Give the journal back."""
        self._journal.close()
