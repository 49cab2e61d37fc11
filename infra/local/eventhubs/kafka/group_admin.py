"""Looking at groups, and deleting them or their offsets."""

from __future__ import annotations

from typing import Any

from kio.schema.errors import ErrorCode

from ..errors import HubError
from ..groups.model import State
from .codec import Fields
from .error_codes import code_of
from .session import Session


async def list_groups(session: Session, body: Any) -> Fields:
    """Groups with members, and groups that have only committed offsets."""
    wanted_states = {state.lower() for state in getattr(body, "states_filter", ())}
    live = session.hub.coordinator.groups
    rows = [(group.group_id, group.protocol_type, group.state.value) for group in live.values()]
    rows += [(name, "consumer", State.EMPTY.value) for name in session.hub.offsets.groups() if name not in live]
    return {
        "groups": [
            {"group_id": name, "protocol_type": protocol_type, "group_state": state}
            for name, protocol_type, state in rows
            if not wanted_states or state.lower() in wanted_states
        ]
    }


async def describe_groups(session: Session, body: Any) -> Fields:
    """The members of groups and what they were assigned."""
    return {"groups": [_describe(session, name) for name in body.groups]}


def _describe(session: Session, name: str) -> Fields:
    group = session.hub.coordinator.groups.get(name)
    if group is None:
        known = bool(session.hub.offsets.committed(name))
        return {
            "group_id": name,
            "group_state": State.EMPTY.value if known else "Dead",
            "protocol_type": "consumer" if known else "",
        }
    return {
        "group_id": name,
        "group_state": group.state.value,
        "protocol_type": group.protocol_type,
        "protocol_data": group.protocol_name or "",
        "members": [
            {
                "member_id": member.member_id,
                "group_instance_id": member.instance_id,
                "client_id": member.client_id,
                "client_host": member.client_host,
                "member_metadata": member.metadata(group.protocol_name),
                "member_assignment": member.assignment,
            }
            for member in group.members.values()
        ],
    }


async def delete_groups(session: Session, body: Any) -> Fields:
    """Forget groups without members, with their offsets."""
    return {"results": [{"group_id": name, "error_code": _delete(session, name)} for name in body.groups_names]}


def _delete(session: Session, name: str) -> ErrorCode:
    group = session.hub.coordinator.groups.get(name)
    if group is not None and group.members:
        return ErrorCode.non_empty_group
    if not session.hub.offsets.committed(name):
        return ErrorCode.group_id_not_found
    try:
        session.hub.offsets.forget_group(name)
    except HubError as error:
        return code_of(error)
    return ErrorCode.none


async def offset_delete(session: Session, body: Any) -> Fields:
    """Forget where a group stands in some partitions; not in topics that a member of it reads."""
    offsets = session.hub.offsets
    group = session.hub.coordinator.groups.get(body.group_id)
    if group is None and not offsets.committed(body.group_id):
        return {"error_code": ErrorCode.group_id_not_found}
    if group is not None and group.members and group.protocol_type != "consumer":
        return {"error_code": ErrorCode.non_empty_group}
    subscribed = group.subscribed_topics() if group is not None else frozenset()
    topics = []
    for topic in body.topics:
        partitions = []
        for partition in topic.partitions:
            code = ErrorCode.none
            if topic.name in subscribed:
                code = ErrorCode.group_subscribed_to_topic
            else:
                try:
                    session.hub.partition(topic.name, partition.partition_index)
                    offsets.forget(body.group_id, topic.name, partition.partition_index)
                except HubError as error:
                    code = code_of(error)
            partitions.append({"partition_index": partition.partition_index, "error_code": code})
        topics.append({"name": topic.name, "partitions": partitions})
    return {"topics": topics}
