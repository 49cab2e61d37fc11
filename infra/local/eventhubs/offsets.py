"""Committed offsets of consumer groups, kept in a journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from .log.flush import Flusher, Ticket
from .log.journal import Journal


class Committed(msgspec.Struct, frozen=True, array_like=True):
    """The next offset to read, the leader epoch it was read at, and the consumer's own words."""

    offset: int
    leader_epoch: int
    metadata: str


class _Commit(msgspec.Struct, frozen=True, tag="commit"):
    group: str
    topic: str
    partition: int
    committed: Committed


class _TopicGone(msgspec.Struct, frozen=True, tag="topic-gone"):
    topic: str


class _Forgotten(msgspec.Struct, frozen=True, tag="forgotten"):
    group: str
    topic: str | None = None
    partition: int = -1


class OffsetStore:
    """Where each group stands, by topic and partition. A later commit replaces an earlier one."""

    def __init__(self, path: Path, flusher: Flusher) -> None:
        self._groups: dict[str, dict[tuple[str, int], Committed]] = {}
        self._journal = Journal(path, flusher, self._replay)

    def _replay(self, payload: bytes) -> None:
        change = msgspec.json.decode(payload, type=_Commit | _TopicGone | _Forgotten)
        if isinstance(change, _Commit):
            self._put(change)
        elif isinstance(change, _Forgotten):
            self._drop(change)
        else:
            self._drop_topic(change.topic)

    def _put(self, commit: _Commit) -> None:
        self._groups.setdefault(commit.group, {})[commit.topic, commit.partition] = commit.committed

    def _drop_topic(self, topic: str) -> None:
        for offsets in self._groups.values():
            for key in [key for key in offsets if key[0] == topic]:
                del offsets[key]

    def commit(self, group: str, topic: str, partition: int, committed: Committed) -> Ticket | None:
        """Note the offset; it survives a crash after `settled`. StorageFailed changes nothing."""
        commit = _Commit(group, topic, partition, committed)
        ticket = self._journal.append(msgspec.json.encode(commit))
        self._put(commit)
        self._shorten_when_long()
        return ticket

    async def settled(self, ticket: Ticket | None) -> None:
        """Return when the commit may be acknowledged under the flush policy, or raise StorageFailed."""
        await self._journal.settled(ticket)

    def _shorten_when_long(self) -> None:
        if self._journal.messages < 10_000:
            return
        if self._journal.messages > 4 * sum(map(len, self._groups.values())):
            self._journal.rewrite(map(msgspec.json.encode, self._all()))

    def _all(self) -> Iterator[_Commit]:
        for group, offsets in self._groups.items():
            for (topic, partition), committed in offsets.items():
                yield _Commit(group, topic, partition, committed)

    def committed(self, group: str) -> dict[tuple[str, int], Committed]:
        """All offsets of a group, by topic and partition; not to be changed."""
        return self._groups.get(group, {})

    def groups(self) -> list[str]:
        """The groups that have committed anything."""
        return [group for group, offsets in self._groups.items() if offsets]

    def topics(self) -> set[str]:
        """The topics that anything was committed for."""
        return {topic for offsets in self._groups.values() for topic, _ in offsets}

    def forget_topic(self, topic: str) -> None:
        """A topic was deleted: another one of its name begins at 0. Durable on return."""
        self._journal.append_now(msgspec.json.encode(_TopicGone(topic)))
        self._drop_topic(topic)

    def forget(self, group: str, topic: str, partition: int) -> None:
        """The group stands nowhere in this partition any more. Durable on return."""
        self._forget(_Forgotten(group, topic, partition))

    def forget_group(self, group: str) -> None:
        """The group never committed anything. Durable on return."""
        self._forget(_Forgotten(group))

    def _forget(self, change: _Forgotten) -> None:
        self._journal.append_now(msgspec.json.encode(change))
        self._drop(change)

    def _drop(self, change: _Forgotten) -> None:
        if change.topic is None:
            self._groups.pop(change.group, None)
        else:
            self._groups.get(change.group, {}).pop((change.topic, change.partition), None)

    def close(self) -> None:
        """Give the journal back."""
        self._journal.close()
