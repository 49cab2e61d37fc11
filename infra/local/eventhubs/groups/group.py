"""One consumer group as a state machine: Kafka's classic rebalance protocol, eager and cooperative alike.

    EMPTY -> PREPARING -> COMPLETING -> STABLE
               ^  every change of membership or subscription leads back here

PREPARING parks joins until all members have come (or the rebalance timeout ends); COMPLETING parks syncs until the
leader has brought the assignment. Whether partitions are given up before or during a rebalance (eager, cooperative)
is between the clients; the group carries their bytes. Rules follow Kafka's GroupCoordinator; KIP-345 for static
members, KIP-394 for required member ids, KIP-814 for returning static leaders.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable

from ..settings import GroupSettings
from .consumer import subscription
from .model import (
    JoinAnswer,
    JoinedMember,
    JoinReply,
    JoinRequest,
    Member,
    Refusal,
    State,
    SyncAnswer,
    SyncReply,
    SyncRequest,
)


def random_member_id(prefix: str) -> str:
    """An id that no other member has ever had."""
    return f"{prefix}-{uuid.uuid4()}"


class Group:
    """A group and its members.

    All methods take the time `now` in seconds; `tick` must be called at `next_deadline`.
    """

    def __init__(
        self, group_id: str, settings: GroupSettings, make_id: Callable[[str], str] = random_member_id
    ) -> None:
        self.group_id = group_id
        self.state = State.EMPTY
        self.generation = 0
        self.protocol_type = ""
        self.protocol_name: str | None = None
        self.leader: str | None = None
        self.members: dict[str, Member] = {}
        self._settings = settings
        self._make_id = make_id
        self._static: dict[str, str] = {}
        self._awaited_ids: dict[str, float] = {}
        self._phase_ends: float | None = None
        self._opening_ends: float | None = None

    # ---- joining

    def join(self, request: JoinRequest, now: float, reply: JoinReply) -> None:
        """Become, or go on being, a member. The reply comes at once or when the rebalance has gathered everyone."""
        refusal = self._refuse_join(request)
        if refusal is not None:
            reply(JoinAnswer(refusal, request.member_id))
        elif request.member_id:
            self._join_known(request, now, reply)
        elif request.instance_id is not None:
            self._join_static(request, request.instance_id, now, reply)
        elif request.must_know_its_id:
            member_id = self._make_id(request.client_id)
            self._awaited_ids[member_id] = now + request.session_timeout_s
            reply(JoinAnswer(Refusal.MEMBER_ID_REQUIRED, member_id))
        else:
            self._add(self._make_id(request.client_id), request, now, reply)

    def _refuse_join(self, request: JoinRequest) -> Refusal | None:
        shortest = self._settings.min_session_timeout_ms / 1000
        longest = self._settings.max_session_timeout_ms / 1000
        if not shortest <= request.session_timeout_s <= longest:
            return Refusal.INVALID_SESSION_TIMEOUT
        if not request.protocol_type or not request.protocols:
            return Refusal.INCONSISTENT_PROTOCOL
        others = [member for member in self.members.values() if member.member_id != request.member_id]
        if others and request.instance_id is not None:
            others = [member for member in others if member.instance_id != request.instance_id]
        if others:
            offered = {protocol.name for protocol in request.protocols}
            if request.protocol_type != self.protocol_type or not offered & self._common_protocols(others):
                return Refusal.INCONSISTENT_PROTOCOL
        # Those who were sent away with an id have a place: a flood of newcomers must not grow without end.
        awaited = len(self._awaited_ids.keys() - {request.member_id})
        if request.member_id not in self.members and len(others) + awaited >= self._settings.max_members:
            return Refusal.GROUP_FULL
        return None

    @staticmethod
    def _common_protocols(members: list[Member]) -> set[str]:
        return set.intersection(*({protocol.name for protocol in member.protocols} for member in members))

    def _join_known(self, request: JoinRequest, now: float, reply: JoinReply) -> None:
        refusal = self._refuse_member(request.member_id, request.instance_id)
        member = self.members.get(request.member_id)
        if member is None and self._awaited_ids.pop(request.member_id, None) is not None:
            self._add(request.member_id, request, now, reply)
        elif member is None or refusal is not None:
            reply(JoinAnswer(refusal, request.member_id))
        elif self._needs_rebalance(member, request):
            self._update(member, request, now, reply)
            self._rebalance(now)
        else:
            # Its last answer got lost, or a follower asks again: nothing has changed.
            self._refresh(member, now)
            reply(self._joined(member))

    def _needs_rebalance(self, member: Member, request: JoinRequest) -> bool:
        if self.state is State.PREPARING or request.protocols != member.protocols:
            return True
        return self.state is State.STABLE and member.member_id == self.leader

    def _join_static(self, request: JoinRequest, instance_id: str, now: float, reply: JoinReply) -> None:
        new_id = self._make_id(instance_id)
        old_id = self._static.get(instance_id)
        if old_id is None:
            self._add(new_id, request, now, reply)
            return
        was_leader = self.leader == old_id
        member = self._replace_static(old_id, new_id)
        unchanged = self.state is State.STABLE and request.protocols == member.protocols
        self._update(member, request, now, reply)
        if not unchanged:
            self._rebalance(now)
            return
        # A returning leader must not assign again. Before v9 the only way to say so is to name the old leader.
        leader = old_id if was_leader and not request.may_skip_assignment else self.leader
        answer = self._joined(member)._replace(leader=leader or "", skip_assignment=was_leader)
        member.answer_join(answer._replace(members=answer.members if leader == new_id else ()))
        self._refresh(member, now)

    def _replace_static(self, old_id: str, new_id: str) -> Member:
        member = self.members.pop(old_id)
        member.answer_join(JoinAnswer(Refusal.FENCED_INSTANCE, old_id))
        member.answer_sync(SyncAnswer(Refusal.FENCED_INSTANCE))
        member.member_id = new_id
        self.members[new_id] = member
        if member.instance_id is not None:
            self._static[member.instance_id] = new_id
        if self.leader == old_id:
            self.leader = new_id
        return member

    def _add(self, member_id: str, request: JoinRequest, now: float, reply: JoinReply) -> None:
        self.members[member_id] = Member(
            member_id=member_id,
            instance_id=request.instance_id,
            client_id=request.client_id,
            client_host=request.client_host,
            session_timeout_s=request.session_timeout_s,
            rebalance_timeout_s=request.rebalance_timeout_s,
            protocols=request.protocols,
            session_ends=now + request.session_timeout_s,
            parked_join=reply,
        )
        if request.instance_id is not None:
            self._static[request.instance_id] = member_id
        self.protocol_type = request.protocol_type
        if self.leader is None:
            self.leader = member_id
        self._rebalance(now)

    def _update(self, member: Member, request: JoinRequest, now: float, reply: JoinReply) -> None:
        # A client that gave up on its parked join and asks again is answered on the newer request only.
        member.answer_join(JoinAnswer(Refusal.UNKNOWN_MEMBER, member.member_id))
        member.protocols = request.protocols
        member.session_timeout_s = request.session_timeout_s
        member.rebalance_timeout_s = request.rebalance_timeout_s
        member.parked_join = reply
        self._refresh(member, now)

    # ---- rebalancing

    def _rebalance(self, now: float) -> None:
        """Start gathering, or go on with it, and end it if everyone is here."""
        if self.state is not State.PREPARING:
            for member in self.members.values():
                if member.parked_sync is not None:
                    self._refresh(member, now)  # it could not show that it lives while it was parked
                    member.answer_sync(SyncAnswer(Refusal.REBALANCE_IN_PROGRESS))
            was_empty = self.state is State.EMPTY
            self.state = State.PREPARING
            self._phase_ends = now + self._rebalance_timeout()
            self._opening_ends = now + self._settings.initial_rebalance_delay_ms / 1000 if was_empty else None
        self._gather(now)

    def _rebalance_timeout(self) -> float:
        return max((member.rebalance_timeout_s for member in self.members.values()), default=0.0)

    def _gather(self, now: float) -> None:
        everyone = all(member.parked_join is not None for member in self.members.values())
        if everyone and self._opening_ends is None and not self._awaited_ids:
            self._form_generation(now)

    def _form_generation(self, now: float) -> None:
        """All who came are the next generation. Static members may be late: only their session ends their place."""
        for member in list(self.members.values()):
            if member.parked_join is None and member.instance_id is None:
                self._forget(member)
        self._opening_ends = None
        if not self.members:
            self._become_empty()
            return
        joined = [member for member in self.members.values() if member.parked_join is not None]
        if not joined:
            self._phase_ends = None  # silent static members only: the next join or the end of a session goes on
            return
        if self.leader is None or self.members[self.leader].parked_join is None:
            self.leader = joined[0].member_id
        self.generation += 1
        self.state = State.COMPLETING
        self.protocol_name = self._elect_protocol()
        self._phase_ends = now + self._rebalance_timeout()
        for member in joined:
            member.assignment = b""
            self._refresh(member, now)
            member.answer_join(self._joined(member))

    def _elect_protocol(self) -> str:
        """The protocol all speak that most members prefer; among equals the first member's preference."""
        members = list(self.members.values())
        common = self._common_protocols(members)
        votes = Counter(
            next(protocol.name for protocol in member.protocols if protocol.name in common) for member in members
        )
        return votes.most_common(1)[0][0]

    def _joined(self, member: Member) -> JoinAnswer:
        members: tuple[JoinedMember, ...] = ()
        if member.member_id == self.leader:
            members = tuple(
                JoinedMember(each.member_id, each.instance_id, each.metadata(self.protocol_name))
                for each in self.members.values()
            )
        return JoinAnswer(
            None,
            member.member_id,
            self.generation,
            self.protocol_type,
            self.protocol_name,
            self.leader or "",
            members,
        )

    def _become_empty(self) -> None:
        self.state = State.EMPTY
        self.generation += 1
        self.protocol_name = None
        self.leader = None
        self._phase_ends = None

    # ---- syncing

    def sync(self, request: SyncRequest, now: float, reply: SyncReply) -> None:
        """Hand in (leader) and get the assignment. The reply comes at once or when the leader has brought it."""
        refusal = self._refuse_sync(request)
        if refusal is not None:
            reply(SyncAnswer(refusal))
            return
        member = self.members[request.member_id]
        self._refresh(member, now)
        member.answer_sync(SyncAnswer(Refusal.UNKNOWN_MEMBER))
        member.parked_sync = reply
        if self.state is State.COMPLETING and member.member_id == self.leader:
            for each in self.members.values():
                each.assignment = request.assignments.get(each.member_id, b"")
            self.state = State.STABLE
            self._phase_ends = None
        if self.state is State.STABLE:
            self._hand_out_assignments(now)

    def _refuse_sync(self, request: SyncRequest) -> Refusal | None:
        refusal = self._refuse_member(request.member_id, request.instance_id)
        if refusal is not None:
            return refusal
        if request.generation != self.generation:
            return Refusal.ILLEGAL_GENERATION
        if request.protocol_type not in (None, self.protocol_type):
            return Refusal.INCONSISTENT_PROTOCOL
        if request.protocol_name not in (None, self.protocol_name):
            return Refusal.INCONSISTENT_PROTOCOL
        return Refusal.REBALANCE_IN_PROGRESS if self.state is State.PREPARING else None

    def _hand_out_assignments(self, now: float) -> None:
        for member in self.members.values():
            if member.parked_sync is not None:
                self._refresh(member, now)
                member.answer_sync(SyncAnswer(None, member.assignment, self.protocol_type, self.protocol_name))

    # ---- staying and leaving

    def heartbeat(self, member_id: str, instance_id: str | None, generation: int, now: float) -> Refusal | None:
        """Stay a member for another session; REBALANCE_IN_PROGRESS asks the member to join again."""
        refusal = self._refuse_member(member_id, instance_id)
        if refusal is not None:
            return refusal
        if generation != self.generation:
            return Refusal.ILLEGAL_GENERATION
        self._refresh(self.members[member_id], now)
        return Refusal.REBALANCE_IN_PROGRESS if self.state is State.PREPARING else None

    def may_commit(self, member_id: str, instance_id: str | None, generation: int, now: float) -> Refusal | None:
        """Why this member must not commit offsets now, or None.

        Who is no member at all may commit while there are none.
        """
        if generation < 0 and not member_id and instance_id is None:
            return None if not self.members else Refusal.UNKNOWN_MEMBER
        refusal = self._refuse_member(member_id, instance_id)
        if refusal is not None:
            return refusal
        if generation != self.generation:
            return Refusal.ILLEGAL_GENERATION
        if self.state is State.COMPLETING:
            return Refusal.REBALANCE_IN_PROGRESS
        self._refresh(self.members[member_id], now)
        return None

    def leave(self, member_id: str, instance_id: str | None, now: float) -> Refusal | None:
        """End a membership. A static member may be named by its instance alone."""
        if not member_id and instance_id is not None:
            member_id = self._static.get(instance_id, "")
        if self._awaited_ids.pop(member_id, None) is not None:
            if self.state is State.PREPARING:
                self._gather(now)
            return None
        refusal = self._refuse_member(member_id, instance_id)
        if refusal is None:
            self._lose(self.members[member_id], now)
        return refusal

    def _refuse_member(self, member_id: str, instance_id: str | None) -> Refusal | None:
        if instance_id is not None:
            current = self._static.get(instance_id)
            if current is None:
                return Refusal.UNKNOWN_MEMBER
            return None if current == member_id else Refusal.FENCED_INSTANCE
        return None if member_id in self.members else Refusal.UNKNOWN_MEMBER

    def _refresh(self, member: Member, now: float) -> None:
        member.session_ends = now + member.session_timeout_s

    def _lose(self, member: Member, now: float) -> None:
        self._forget(member)
        if self.state in (State.STABLE, State.COMPLETING):
            self._rebalance(now)
        elif self.state is State.PREPARING:
            self._gather(now)

    def _forget(self, member: Member) -> None:
        del self.members[member.member_id]
        if member.instance_id is not None:
            self._static.pop(member.instance_id, None)
        member.answer_join(JoinAnswer(Refusal.UNKNOWN_MEMBER, member.member_id))
        member.answer_sync(SyncAnswer(Refusal.UNKNOWN_MEMBER))
        if self.leader == member.member_id:
            self.leader = None

    def subscribed_topics(self) -> frozenset[str]:
        """What the members of a group of consumers subscribe to, as far as their metadata can be read."""
        return frozenset(
            topic for member in self.members.values() for topic in subscription(member.metadata(self.protocol_name))
        )

    # ---- time

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, if ever."""
        deadlines = [member.session_ends for member in self.members.values() if not member.parked]
        deadlines.extend(self._awaited_ids.values())
        deadlines.extend(end for end in (self._phase_ends, self._opening_ends) if end is not None)
        return min(deadlines, default=None)

    def tick(self, now: float) -> None:
        """Do what is due: end silent sessions, stop waiting for those who did not come."""
        for member_id in [each for each, ends in self._awaited_ids.items() if ends <= now]:
            del self._awaited_ids[member_id]
        for member in list(self.members.values()):
            if member.session_ends <= now and not member.parked and member.member_id in self.members:
                self._lose(member, now)
        if self._opening_ends is not None and self._opening_ends <= now:
            self._opening_ends = None
        if self._phase_ends is not None and self._phase_ends <= now:
            self._end_phase(now)
        elif self.state is State.PREPARING:
            self._gather(now)

    def _end_phase(self, now: float) -> None:
        if self.state is State.PREPARING:
            self._form_generation(now)
            return
        # The generation was formed, but some never asked for their assignment: without them, from the start.
        for member in [each for each in self.members.values() if each.parked_sync is None]:
            self._forget(member)
        self._rebalance(now)
