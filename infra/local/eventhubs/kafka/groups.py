"""Group membership and committed offsets."""

from __future__ import annotations

from typing import Any

from kio.schema.errors import ErrorCode

from ..errors import HubError
from ..groups.model import JoinRequest, Protocol, SyncRequest
from ..log.flush import Ticket
from ..offsets import Committed
from .codec import Fields
from .error_codes import code_of, code_of_refusal
from .session import NODE_ID, Session

_GROUP_KEY = 0


async def find_coordinator(session: Session, body: Any) -> Fields:
    """The one broker, for groups; transactions have no coordinator."""
    if getattr(body, "key_type", _GROUP_KEY) != _GROUP_KEY:
        return {
            # Of all codes this is the one that clients do not answer by trying again.
            "error_code": ErrorCode.transactional_id_authorization_failed,
            "error_message": "transactions are not offered",
            "node_id": -1,
            "port": -1,
        }
    return {"node_id": NODE_ID, "host": session.host, "port": session.port}


async def join_group(session: Session, body: Any) -> Fields:
    """Become a member; ends when the rebalance has gathered everyone."""
    session_timeout_s = body.session_timeout.total_seconds()
    rebalance_timeout = getattr(body, "rebalance_timeout", body.session_timeout)
    answer = await session.hub.coordinator.join(
        body.group_id,
        JoinRequest(
            member_id=body.member_id,
            instance_id=getattr(body, "group_instance_id", None),
            client_id=session.client_id,
            client_host=session.peer,
            session_timeout_s=session_timeout_s,
            rebalance_timeout_s=rebalance_timeout.total_seconds(),
            protocol_type=body.protocol_type,
            protocols=tuple(Protocol(each.name, each.metadata) for each in body.protocols),
            must_know_its_id=session.version >= 4,
            may_skip_assignment=session.version >= 9,
        ),
    )
    # Before v7 the protocol's name must not be null, not even beside an error.
    protocol_name = answer.protocol_name if session.version >= 7 else answer.protocol_name or ""
    return {
        "error_code": code_of_refusal(answer.refusal),
        "generation_id": answer.generation,
        "protocol_type": answer.protocol_type,
        "protocol_name": protocol_name,
        "leader": answer.leader,
        "member_id": answer.member_id,
        "skip_assignment": answer.skip_assignment,
        "members": [
            {"member_id": each.member_id, "group_instance_id": each.instance_id, "metadata": each.metadata}
            for each in answer.members
        ],
    }


async def sync_group(session: Session, body: Any) -> Fields:
    """Get the assignment; ends when the leader has brought it."""
    answer = await session.hub.coordinator.sync(
        body.group_id,
        SyncRequest(
            member_id=body.member_id,
            instance_id=getattr(body, "group_instance_id", None),
            generation=body.generation_id,
            protocol_type=getattr(body, "protocol_type", None),
            protocol_name=getattr(body, "protocol_name", None),
            assignments={each.member_id: each.assignment for each in body.assignments},
        ),
    )
    return {
        "error_code": code_of_refusal(answer.refusal),
        "protocol_type": answer.protocol_type,
        "protocol_name": answer.protocol_name,
        "assignment": answer.assignment,
    }


async def heartbeat(session: Session, body: Any) -> Fields:
    """Stay a member."""
    refusal = session.hub.coordinator.heartbeat(
        body.group_id, body.member_id, getattr(body, "group_instance_id", None), body.generation_id
    )
    return {"error_code": code_of_refusal(refusal)}


async def leave_group(session: Session, body: Any) -> Fields:
    """End one membership (up to v2) or several."""
    leave = session.hub.coordinator.leave
    if session.version <= 2:
        return {"error_code": code_of_refusal(leave(body.group_id, body.member_id, None))}
    return {
        "members": [
            {
                "member_id": each.member_id,
                "group_instance_id": each.group_instance_id,
                "error_code": code_of_refusal(leave(body.group_id, each.member_id, each.group_instance_id)),
            }
            for each in body.members
        ]
    }


async def offset_commit(session: Session, body: Any) -> Fields:
    """Note where the group stands; answered when that survives a crash."""
    refusal = session.hub.coordinator.may_commit(
        body.group_id,
        body.member_id,
        getattr(body, "group_instance_id", None),
        body.generation_id_or_member_epoch,
    )
    refused = code_of_refusal(refusal)
    last_ticket: Ticket | None = None
    topics = []
    for topic in body.topics:
        codes = {}
        for partition in topic.partitions:
            code = refused
            if not code:
                code, ticket = _commit(session, body.group_id, topic.name, partition)
                last_ticket = ticket or last_ticket
            codes[partition.partition_index] = code
        topics.append((topic.name, codes))
    try:
        await session.hub.offsets.settled(last_ticket)
    except HubError as error:
        refused = code_of(error)
    return {
        "topics": [
            {
                "name": name,
                "partitions": [
                    {"partition_index": index, "error_code": refused or code} for index, code in codes.items()
                ],
            }
            for name, codes in topics
        ]
    }


def _commit(session: Session, group_id: str, topic: str, partition: Any) -> tuple[ErrorCode, Ticket | None]:
    metadata = partition.committed_metadata or ""
    if len(metadata.encode()) > session.hub.settings.groups.max_metadata_bytes:
        return ErrorCode.offset_metadata_too_large, None
    committed = Committed(partition.committed_offset, getattr(partition, "committed_leader_epoch", -1), metadata)
    try:
        session.hub.partition(topic, partition.partition_index)
        return ErrorCode.none, session.hub.offsets.commit(group_id, topic, partition.partition_index, committed)
    except HubError as error:
        return code_of(error), None


async def offset_fetch(session: Session, body: Any) -> Fields:
    """Where the group stands; offset -1 where it has never committed. No topics asked means all it has."""
    committed = session.hub.offsets.committed(body.group_id)
    if body.topics is None:
        wanted: dict[str, list[int]] = {}
        for topic, index in committed:
            wanted.setdefault(topic, []).append(index)
    else:
        wanted = {topic.name: list(topic.partition_indexes) for topic in body.topics}
    nothing = Committed(-1, -1, "")
    return {
        "topics": [
            {
                "name": topic,
                "partitions": [_offset_fields(index, committed.get((topic, index), nothing)) for index in indexes],
            }
            for topic, indexes in wanted.items()
        ]
    }


def _offset_fields(index: int, committed: Committed) -> Fields:
    return {
        "partition_index": index,
        "committed_offset": committed.offset,
        "committed_leader_epoch": committed.leader_epoch,
        "metadata": committed.metadata,
    }
