from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from infra.local.eventhubs.groups.group import Group
from infra.local.eventhubs.groups.model import (
    JoinAnswer,
    JoinRequest,
    Protocol,
    Refusal,
    State,
    SyncAnswer,
    SyncRequest,
)
from infra.local.eventhubs.settings import GroupSettings

SESSION_S = 10.0
REBALANCE_S = 30.0
DELAY_S = 0.1


class Consumer:
    """A member as its client sees it; answers that have come are in `joined` and `synced`."""

    def __init__(self, world: World, name: str, instance_id: str | None, protocols: tuple[Protocol, ...]) -> None:
        self.world = world
        self.name = name
        self.instance_id = instance_id
        self.protocols = protocols
        self.member_id = ""
        self.generation = -1
        self.joined: JoinAnswer | None = None
        self.synced: SyncAnswer | None = None

    def join(self, *, knows_id: bool = True, **changes: object) -> JoinAnswer | None:
        """Ask to join, at first for an id (unless `knows_id` is False); the answer if it came at once."""
        request = JoinRequest(
            member_id=self.member_id,
            instance_id=self.instance_id,
            client_id=self.name,
            client_host="here",
            session_timeout_s=SESSION_S,
            rebalance_timeout_s=REBALANCE_S,
            protocol_type="consumer",
            protocols=self.protocols,
            must_know_its_id=True,
            may_skip_assignment=False,
        )._replace(**changes)
        self.joined = self.synced = None
        self.world.group.join(request, self.world.now, self._on_joined)
        answer: JoinAnswer | None = self.joined
        if answer is not None and answer.refusal is Refusal.MEMBER_ID_REQUIRED and knows_id:
            return self.join(**changes)
        return answer

    def _on_joined(self, answer: JoinAnswer) -> None:
        self.joined = answer
        self.member_id = answer.member_id
        if answer.refusal is None:
            self.generation = answer.generation

    def sync(self, assignments: dict[str, bytes] | None = None) -> SyncAnswer | None:
        self.synced = None
        request = SyncRequest(self.member_id, self.instance_id, self.generation, None, None, assignments or {})
        self.world.group.sync(request, self.world.now, lambda answer: setattr(self, "synced", answer))
        return self.synced

    def heartbeat(self) -> Refusal | None:
        return self.world.group.heartbeat(self.member_id, self.instance_id, self.generation, self.world.now)

    def may_commit(self) -> Refusal | None:
        return self.world.group.may_commit(self.member_id, self.instance_id, self.generation, self.world.now)

    def leave(self) -> Refusal | None:
        return self.world.group.leave(self.member_id, self.instance_id, self.world.now)

    @property
    def leads(self) -> bool:
        return self.joined is not None and self.joined.leader == self.member_id


class World:
    """A group and its clock. Time passes only by `wait`, which ticks the group when it asked for it."""

    def __init__(self, **settings: int) -> None:
        self.now = 0.0
        self._ids = 0
        self.group = Group("g", GroupSettings(initial_rebalance_delay_ms=100, **settings), self._make_id)

    def _make_id(self, prefix: str) -> str:
        self._ids += 1
        return f"{prefix}-{self._ids}"

    def consumer(self, name: str, instance_id: str | None = None, *strategies: str) -> Consumer:
        protocols = tuple(Protocol(each, name.encode()) for each in strategies or ("range",))
        return Consumer(self, name, instance_id, protocols)

    def wait(self, seconds: float, alive: Iterable[Consumer] = ()) -> None:
        """Let time pass; members in `alive` send a heartbeat every second."""
        until = self.now + seconds
        next_beat = self.now + 1
        while self.now < until:
            deadline = self.group.next_deadline()
            self.now = min(until, next_beat, max(deadline, self.now) if deadline is not None else until)
            if deadline is not None and deadline <= self.now:
                self.group.tick(self.now)
            if self.now >= next_beat:
                next_beat += 1
                for member in alive:
                    member.heartbeat()

    def settle(self, *members: Consumer) -> Consumer:
        """Finish the rebalance that the members have joined; returns the leader."""
        self.wait(DELAY_S)
        leader = next(member for member in members if member.leads)
        for member in members:
            if member is not leader:
                member.sync()
        leader.sync({member.member_id: member.name.encode() for member in members})
        return leader

    def stable(self, *names: str) -> list[Consumer]:
        members = [self.consumer(name) for name in names]
        for member in members:
            member.join()
        self.settle(*members)
        assert self.group.state is State.STABLE
        return members


def test_a_new_dynamic_member_is_told_its_id_first() -> None:
    world = World()
    a = world.consumer("a")
    answer = a.join(knows_id=False)
    assert answer is not None
    assert (answer.refusal, answer.member_id) == (Refusal.MEMBER_ID_REQUIRED, "a-1")
    assert a.join() is None, "with its id it is parked until the rebalance ends"
    world.wait(DELAY_S)
    assert a.joined is not None
    assert a.joined.refusal is None


def test_a_storm_of_joins_is_one_rebalance() -> None:
    world = World()
    members = [world.consumer(f"c{number}") for number in range(50)]
    for member in members:
        member.join()
    leader = world.settle(*members)
    assert world.group.generation == 1
    assert leader.joined is not None
    assert len(leader.joined.members) == 50
    assert all(not member.joined.members for member in members if member.joined and member is not leader)
    assert all(member.synced == SyncAnswer(None, member.name.encode(), "consumer", "range") for member in members)


def test_a_newcomer_makes_the_others_join_again() -> None:
    world = World()
    a, b = world.stable("a", "b")
    c = world.consumer("c")
    c.join()
    assert c.joined is None
    assert a.heartbeat() is Refusal.REBALANCE_IN_PROGRESS
    a.join()
    assert c.joined is None, "b is still missing"
    b.join()
    assert {member.generation for member in (a, b, c)} == {2}
    world.settle(a, b, c)
    assert [member.heartbeat() for member in (a, b, c)] == [None] * 3


def test_a_slow_member_is_left_behind_after_the_rebalance_timeout_and_its_commit_is_refused() -> None:
    world = World()
    a, slow = world.stable("a", "slow")
    b = world.consumer("b")
    b.join()
    a.join()
    world.wait(REBALANCE_S - 1, alive=[slow])
    assert world.group.state is State.PREPARING
    assert slow.may_commit() is None, "while the others gather it may still commit what it has done"
    world.wait(1, alive=[slow])
    assert world.group.generation == 2
    assert slow.may_commit() is Refusal.UNKNOWN_MEMBER
    assert slow.heartbeat() is Refusal.UNKNOWN_MEMBER
    world.settle(a, b)


def test_a_commit_of_an_older_generation_is_refused() -> None:
    world = World()
    (a,) = world.stable("a")
    a.generation = 0
    assert a.may_commit() is Refusal.ILLEGAL_GENERATION


def test_a_dead_members_partitions_move_on_after_its_session() -> None:
    world = World()
    a, _dead = world.stable("a", "dead")
    world.wait(SESSION_S - 0.5, alive=[a])
    assert a.heartbeat() is None
    world.wait(1, alive=[a])
    assert a.heartbeat() is Refusal.REBALANCE_IN_PROGRESS
    a.join()
    world.settle(a)
    assert list(world.group.members) == [a.member_id]


def test_the_leaders_death_before_it_assigned_starts_a_new_rebalance_with_another_leader() -> None:
    world = World()
    a, b = world.consumer("a"), world.consumer("b")
    a.join()
    b.join()
    world.wait(DELAY_S)
    leader, follower = (a, b) if a.leads else (b, a)
    assert follower.sync() is None
    world.wait(SESSION_S)
    assert follower.synced is not None
    assert follower.synced.refusal is Refusal.REBALANCE_IN_PROGRESS
    follower.join()
    assert follower.leads
    follower.sync({follower.member_id: b"all"})
    assert follower.synced.assignment == b"all"
    assert leader.heartbeat() is Refusal.UNKNOWN_MEMBER


def test_a_parked_member_never_expires() -> None:
    world = World()
    a, b = world.stable("a", "b")
    a.join()
    world.wait(SESSION_S * 2, alive=[b])
    assert a.member_id in world.group.members
    b.join()
    assert a.joined is not None
    assert a.joined.refusal is None


def test_a_member_that_never_asks_for_its_assignment_is_dropped() -> None:
    world = World()
    members = [world.consumer("a"), world.consumer("b")]
    for member in members:
        member.join()
    world.wait(DELAY_S)
    leader, silent = members if members[0].leads else members[::-1]
    leader.sync({leader.member_id: b"x"})
    world.wait(SESSION_S + 1, alive=[leader])
    assert silent.member_id not in world.group.members


def test_a_leaders_rejoin_rebalances_and_a_followers_does_not() -> None:
    world = World()
    a, b = world.stable("a", "b")
    leader, follower = (a, b) if a.leads else (b, a)
    answer = follower.join()
    assert answer is not None
    assert (answer.refusal, answer.generation, world.group.state) == (None, 1, State.STABLE)
    leader.join()
    assert world.group.state is State.PREPARING


def test_a_changed_subscription_rebalances() -> None:
    world = World()
    a, b = world.stable("a", "b")
    follower = b if a.leads else a
    follower.protocols = (Protocol("range", b"other topics"),)
    assert follower.join() is None
    assert world.group.state is State.PREPARING


def test_leaving_rebalances_at_once() -> None:
    world = World()
    a, b = world.stable("a", "b")
    assert b.leave() is None
    assert a.heartbeat() is Refusal.REBALANCE_IN_PROGRESS
    a.join()
    assert a.joined is not None
    assert a.joined.refusal is None
    assert a.leave() is None
    assert (world.group.state, world.group.next_deadline()) == (State.EMPTY, None)


def test_a_restarted_static_member_keeps_its_assignment_without_a_rebalance() -> None:
    world = World()
    a, b = world.consumer("a", "host-a"), world.consumer("b", "host-b")
    for member in (a, b):
        member.join()
    world.settle(a, b)
    follower = b if a.leads else a
    restarted = world.consumer(follower.name, follower.instance_id)
    answer = restarted.join()
    assert answer is not None
    assert (answer.refusal, answer.generation) == (None, 1)
    synced = restarted.sync()
    assert synced is not None
    assert synced.assignment == follower.name.encode()
    assert world.group.state is State.STABLE
    assert follower.heartbeat() is Refusal.FENCED_INSTANCE
    assert follower.may_commit() is Refusal.FENCED_INSTANCE


@pytest.mark.parametrize("may_skip", [False, True])
def test_a_restarted_static_leader_does_not_assign_again(may_skip: bool) -> None:
    world = World()
    a = world.consumer("a", "host-a")
    a.join()
    world.settle(a)
    restarted = world.consumer("a", "host-a")
    answer = restarted.join(may_skip_assignment=may_skip)
    assert answer is not None
    if may_skip:
        assert (answer.leader, answer.skip_assignment) == (answer.member_id, True)
    else:
        assert answer.leader == a.member_id != answer.member_id
    synced = restarted.sync()
    assert synced is not None
    assert synced.assignment == b"a"


def test_a_static_member_that_stays_away_keeps_its_place_for_its_session_only() -> None:
    world = World()
    a, b = world.consumer("a", "host-a"), world.consumer("b", "host-b")
    for member in (a, b):
        member.join()
    world.settle(a, b)
    world.wait(SESSION_S - 1, alive=[a])
    assert a.heartbeat() is None
    world.wait(2, alive=[a])
    assert a.heartbeat() is Refusal.REBALANCE_IN_PROGRESS


def test_only_a_strategy_that_all_speak_is_elected() -> None:
    world = World()
    a = world.consumer("a", None, "cooperative-sticky", "range")
    b = world.consumer("b", None, "range")
    for member in (a, b):
        member.join()
    world.wait(DELAY_S)
    assert world.group.protocol_name == "range"
    c = world.consumer("c", None, "roundrobin")
    answer = c.join()
    assert answer is not None
    assert answer.refusal is Refusal.INCONSISTENT_PROTOCOL


@pytest.mark.parametrize("session_s", [0.5, 2000.0])
def test_a_session_timeout_out_of_bounds_is_refused(session_s: float) -> None:
    answer = World().consumer("a").join(session_timeout_s=session_s)
    assert answer is not None
    assert answer.refusal is Refusal.INVALID_SESSION_TIMEOUT


def test_newcomers_who_only_ever_ask_for_an_id_fill_a_group_too() -> None:
    world = World(max_members=2)
    answers = [world.consumer(name).join(knows_id=False) for name in "abc"]
    assert [answer.refusal for answer in answers if answer is not None] == [
        Refusal.MEMBER_ID_REQUIRED,
        Refusal.MEMBER_ID_REQUIRED,
        Refusal.GROUP_FULL,
    ]


def test_a_full_group_refuses_newcomers_but_not_its_members() -> None:
    world = World(max_members=2)
    a, b = world.stable("a", "b")
    answer = world.consumer("c").join()
    assert answer is not None
    assert answer.refusal is Refusal.GROUP_FULL
    follower = b if a.leads else a
    again = follower.join()
    assert again is not None
    assert again.refusal is None


def test_a_promised_member_that_never_comes_back_delays_the_others_only_until_its_session_ends() -> None:
    world = World()
    world.consumer("ghost").join(knows_id=False)
    a = world.consumer("a")
    a.join()
    world.wait(SESSION_S - 1)
    assert a.joined is None
    world.wait(1)
    assert a.joined is not None


def test_a_lost_answer_is_given_again() -> None:
    world = World()
    a = world.consumer("a")
    a.join()
    world.wait(DELAY_S)
    again = a.join()
    assert again is not None
    assert (again.refusal, again.generation, again.leader) == (None, 1, a.member_id)


def test_a_consumer_outside_the_group_commits_only_while_it_is_empty() -> None:
    world = World()
    commit: Callable[[], Refusal | None] = lambda: world.group.may_commit("", None, -1, world.now)  # noqa: E731  # one line
    assert commit() is None
    world.stable("a")
    assert commit() is Refusal.UNKNOWN_MEMBER


def test_a_silent_group_ends_empty_with_nothing_left_to_do() -> None:
    world = World()
    world.stable("a", "b", "c")
    world.wait(SESSION_S + REBALANCE_S + 1)
    assert (world.group.state, world.group.members, world.group.next_deadline()) == (State.EMPTY, {}, None)
