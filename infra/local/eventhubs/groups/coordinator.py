"""The groups on a real clock: parked calls become awaitables, deadlines become timers."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from ..settings import GroupSettings
from .group import Group
from .model import JoinAnswer, JoinRequest, Refusal, State, SyncAnswer, SyncRequest

_Answer = TypeVar("_Answer")


class Coordinator:
    """All groups of the hub. Groups appear with their first member and vanish with their last."""

    def __init__(self, settings: GroupSettings) -> None:
        self.groups: dict[str, Group] = {}
        self._settings = settings
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def join(self, group_id: str, request: JoinRequest) -> JoinAnswer:
        """Become a member; returns when the rebalance has gathered everyone."""
        if not group_id:
            return JoinAnswer(Refusal.INVALID_GROUP_ID, request.member_id)
        group = self.groups.get(group_id)
        if group is None:
            group = self.groups[group_id] = Group(group_id, self._settings)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[JoinAnswer] = loop.create_future()
        group.join(request, loop.time(), lambda given: _resolve(answer, given))
        self._arm(group)
        return await answer

    async def sync(self, group_id: str, request: SyncRequest) -> SyncAnswer:
        """Get the assignment; returns when the leader has brought it."""
        group = self.groups.get(group_id)
        if group is None:
            return SyncAnswer(Refusal.UNKNOWN_MEMBER)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[SyncAnswer] = loop.create_future()
        group.sync(request, loop.time(), lambda given: _resolve(answer, given))
        self._arm(group)
        return await answer

    def heartbeat(self, group_id: str, member_id: str, instance_id: str | None, generation: int) -> Refusal | None:
        """Stay a member."""
        group = self.groups.get(group_id)
        if group is None:
            return Refusal.UNKNOWN_MEMBER
        refusal = group.heartbeat(member_id, instance_id, generation, self._now())
        self._arm(group)
        return refusal

    def may_commit(self, group_id: str, member_id: str, instance_id: str | None, generation: int) -> Refusal | None:
        """Why this member must not commit now, or None."""
        group = self.groups.get(group_id)
        if group is None:
            return Refusal.ILLEGAL_GENERATION if generation >= 0 else None
        refusal = group.may_commit(member_id, instance_id, generation, self._now())
        self._arm(group)
        return refusal

    def leave(self, group_id: str, member_id: str, instance_id: str | None) -> Refusal | None:
        """End a membership."""
        group = self.groups.get(group_id)
        if group is None:
            return Refusal.UNKNOWN_MEMBER
        refusal = group.leave(member_id, instance_id, self._now())
        self._arm(group)
        return refusal

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _arm(self, group: Group) -> None:
        """Have the group ticked at its next deadline, or dropped when it has none left."""
        timer = self._timers.pop(group.group_id, None)
        if timer is not None:
            timer.cancel()
        deadline = group.next_deadline()
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timers[group.group_id] = loop.call_at(deadline, self._tick, group)
        elif group.state is State.EMPTY:
            self.groups.pop(group.group_id, None)

    def _tick(self, group: Group) -> None:
        group.tick(self._now())
        self._arm(group)

    def close(self) -> None:
        """Stop all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


def _resolve(future: asyncio.Future[_Answer], answer: _Answer) -> None:
    # The connection that asked may have gone meanwhile, and taken its future with it.
    if not future.done():
        future.set_result(answer)
