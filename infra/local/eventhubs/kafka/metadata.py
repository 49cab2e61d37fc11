"""What the cluster looks like: always one broker that leads everything."""

from __future__ import annotations

from typing import Any

from kio.schema.errors import ErrorCode

from ..errors import HubError
from ..topics import Topic
from .apis import VERSIONS
from .codec import Fields
from .error_codes import code_of
from .session import NODE_ID, Session


def versions_fields(code: ErrorCode = ErrorCode.none) -> Fields:
    """What is served, in the terms of an ApiVersions response."""
    return {
        "error_code": code,
        "api_keys": [
            {"api_key": int(key), "min_version": bounds.lowest, "max_version": bounds.highest}
            for key, bounds in VERSIONS.items()
        ],
    }


async def api_versions(session: Session, body: Any) -> Fields:
    """What is served."""
    return versions_fields()


async def metadata(session: Session, body: Any) -> Fields:
    """The broker, and the topics asked for; all if none are named (in version 0: if the list is empty)."""
    asked = body.topics
    if asked is None or (session.version == 0 and not asked):
        topics = [_topic_fields(topic) for topic in session.hub.catalogue.topics.values()]
    else:
        may_create = getattr(body, "allow_auto_topic_creation", True)
        topics = [_named_topic(session, topic.name, may_create) for topic in asked]
    return {
        "brokers": [_broker(session)],
        "cluster_id": session.hub.cluster_id,
        "controller_id": NODE_ID,
        "topics": topics,
    }


def _broker(session: Session) -> Fields:
    return {"node_id": NODE_ID, "host": session.host, "port": session.port}


def _named_topic(session: Session, name: str | None, may_create: bool) -> Fields:
    hub = session.hub
    if name is None:
        return {"error_code": ErrorCode.unknown_topic_id, "name": None}
    topic = hub.catalogue.topics.get(name)
    try:
        if topic is None and may_create and hub.settings.auto_create:
            topic = hub.create_topic(name, -1, {})
        return _topic_fields(topic or hub.catalogue.get(name))
    except HubError as error:
        return {"error_code": code_of(error), "name": name}


def _topic_fields(topic: Topic) -> Fields:
    return {
        "name": topic.name,
        "topic_id": topic.id,
        "partitions": [
            {
                "partition_index": index,
                "leader_id": NODE_ID,
                "leader_epoch": 0,
                "replica_nodes": (NODE_ID,),
                "isr_nodes": (NODE_ID,),
            }
            for index in range(topic.partitions)
        ],
    }


async def describe_cluster(session: Session, body: Any) -> Fields:
    """The one broker."""
    return {
        "cluster_id": session.hub.cluster_id,
        "controller_id": NODE_ID,
        "brokers": [{"broker_id": NODE_ID, "host": session.host, "port": session.port}],
    }
