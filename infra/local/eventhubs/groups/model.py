"""What goes into and comes out of a consumer group. Times are seconds of the caller's clock."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


class State(enum.Enum):
    """The values are Kafka's names for the states."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


class Refusal(enum.Enum):
    """Why a group did not do what was asked; the client acts on it."""

    UNKNOWN_MEMBER = enum.auto()
    ILLEGAL_GENERATION = enum.auto()
    REBALANCE_IN_PROGRESS = enum.auto()
    INCONSISTENT_PROTOCOL = enum.auto()
    INVALID_SESSION_TIMEOUT = enum.auto()
    INVALID_GROUP_ID = enum.auto()
    MEMBER_ID_REQUIRED = enum.auto()
    FENCED_INSTANCE = enum.auto()
    GROUP_FULL = enum.auto()


class Protocol(NamedTuple):
    """An assignment strategy that a member speaks, with its subscription in that strategy's terms."""

    name: str
    metadata: bytes


class JoinRequest(NamedTuple):
    """A consumer asks to be a member. `member_id` is "" at first; `instance_id` makes it a static member."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_s: float
    rebalance_timeout_s: float
    protocol_type: str
    protocols: tuple[Protocol, ...]
    must_know_its_id: bool
    """Whether a new dynamic member is first sent away with an id (JoinGroup v4 and later)."""
    may_skip_assignment: bool
    """Whether a static leader that returns can be told to keep the old assignment (JoinGroup v9)."""


class JoinedMember(NamedTuple):
    """A member as the leader sees it."""

    member_id: str
    instance_id: str | None
    metadata: bytes


class JoinAnswer(NamedTuple):
    """The end of a join. `members` is filled for the leader only."""

    refusal: Refusal | None
    member_id: str
    generation: int = -1
    protocol_type: str | None = None
    protocol_name: str | None = None
    leader: str = ""
    members: tuple[JoinedMember, ...] = ()
    skip_assignment: bool = False


class SyncRequest(NamedTuple):
    """A member asks for its assignment; the leader brings all of them."""

    member_id: str
    instance_id: str | None
    generation: int
    protocol_type: str | None
    protocol_name: str | None
    assignments: dict[str, bytes]


class SyncAnswer(NamedTuple):
    """The end of a sync."""

    refusal: Refusal | None
    assignment: bytes = b""
    protocol_type: str | None = None
    protocol_name: str | None = None


JoinReply = Callable[[JoinAnswer], None]
SyncReply = Callable[[SyncAnswer], None]


@dataclass(slots=True)
class Member:
    """A member of a group. While a join or sync of it is parked its session cannot expire."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_s: float
    rebalance_timeout_s: float
    protocols: tuple[Protocol, ...]
    session_ends: float
    assignment: bytes = b""
    parked_join: JoinReply | None = field(default=None, repr=False)
    parked_sync: SyncReply | None = field(default=None, repr=False)

    @property
    def parked(self) -> bool:
        """Whether it is the group's turn to answer."""
        return self.parked_join is not None or self.parked_sync is not None

    def metadata(self, protocol: str | None) -> bytes:
        """Its subscription in the terms of a protocol."""
        return next((each.metadata for each in self.protocols if each.name == protocol), b"")

    def answer_join(self, answer: JoinAnswer) -> None:
        """End the parked join, if there is one."""
        reply, self.parked_join = self.parked_join, None
        if reply is not None:
            reply(answer)

    def answer_sync(self, answer: SyncAnswer) -> None:
        """End the parked sync, if there is one."""
        reply, self.parked_sync = self.parked_sync, None
        if reply is not None:
            reply(answer)
