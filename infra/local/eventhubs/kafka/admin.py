"""Creating, growing, emptying and deleting topics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import HubError
from ..hub import Hub
from .codec import Fields
from .error_codes import code_of
from .session import Session


def _outcome(name: str, attempt: Callable[[], object]) -> dict[str, Any]:
    """The part of an answer that says whether something could be done to a topic."""
    try:
        attempt()
    except HubError as error:
        return {"name": name, "error_code": code_of(error), "error_message": str(error)}
    return {"name": name}


async def create_topics(session: Session, body: Any) -> Fields:
    """Create each topic, or only say whether it could be."""
    return {"topics": [_create(session.hub, topic, body.validate_only) for topic in body.topics]}


def _create(hub: Hub, asked: Any, validate_only: bool) -> Fields:
    configs = {config.name: config.value for config in asked.configs if config.value is not None}
    partitions = len(asked.assignments) or asked.num_partitions
    if partitions == -1:
        partitions = hub.settings.default_partitions
    if validate_only:
        outcome = _outcome(asked.name, lambda: hub.catalogue.plan(asked.name, partitions, configs))
    else:
        outcome = _outcome(asked.name, lambda: hub.create_topic(asked.name, partitions, configs))
    return outcome | {"num_partitions": partitions, "replication_factor": 1, "configs": ()}


async def create_partitions(session: Session, body: Any) -> Fields:
    """Give topics more partitions."""
    hub = session.hub
    grow = hub.catalogue.plan_growth if body.validate_only else hub.grow_topic
    return {
        "results": [
            _outcome(topic.name, lambda topic=topic: grow(topic.name, topic.count))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            for topic in body.topics
        ]
    }


async def delete_topics(session: Session, body: Any) -> Fields:
    """Delete topics with their records."""
    return {"responses": [await _delete(session.hub, name) for name in body.topic_names]}


async def _delete(hub: Hub, name: str) -> Fields:
    try:
        await hub.delete_topic(name)
    except HubError as error:
        return {"name": name, "error_code": code_of(error), "error_message": str(error)}
    return {"name": name}


async def delete_records(session: Session, body: Any) -> Fields:
    """Give up the records below an offset."""
    return {
        "topics": [
            {
                "name": topic.name,
                "partitions": [_delete_records(session.hub, topic.name, each) for each in topic.partitions],
            }
            for topic in body.topics
        ]
    }


def _delete_records(hub: Hub, topic: str, partition: Any) -> Fields:
    answer = {"partition_index": partition.partition_index, "low_watermark": -1}
    try:
        log = hub.partition(topic, partition.partition_index)
        return answer | {"low_watermark": log.delete_before(partition.offset)}
    except HubError as error:
        return answer | {"error_code": code_of(error)}
