"""Creating, growing, deleting topics, and reading their settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kio.schema.errors import ErrorCode

from ..errors import HubError
from ..hub import Hub
from ..topics import Topic
from .codec import Fields
from .error_codes import code_of
from .session import Session

_TOPIC_RESOURCE = 2
_BROKER_RESOURCE = 4
_SET_ON_TOPIC = 1
_DEFAULT = 5


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


async def describe_configs(session: Session, body: Any) -> Fields:
    """The settings of topics; the broker itself shows the defaults for them."""
    return {"results": [_describe(session.hub, resource) for resource in body.resources]}


def _describe(hub: Hub, resource: Any) -> Fields:
    answer = {"resource_type": resource.resource_type, "resource_name": resource.resource_name}
    try:
        if resource.resource_type == _TOPIC_RESOURCE:
            own = _own_configs(hub.catalogue.get(resource.resource_name))
        elif resource.resource_type == _BROKER_RESOURCE:
            own = {}
        else:
            return answer | {"error_code": ErrorCode.invalid_request, "error_message": "no such resource type"}
    except HubError as error:
        return answer | {"error_code": code_of(error), "error_message": str(error)}
    asked = resource.configuration_keys
    configs = _default_configs(hub) | own
    return answer | {
        "configs": [
            {
                "name": name,
                "value": value,
                "config_source": _SET_ON_TOPIC if name in own else _DEFAULT,
                "read_only": resource.resource_type == _BROKER_RESOURCE,
            }
            for name, value in configs.items()
            if not asked or name in asked
        ]
    }


def _own_configs(topic: Topic) -> dict[str, str]:
    return dict(topic.configs)


def _default_configs(hub: Hub) -> dict[str, str]:
    limits = hub.settings.log
    return {
        "cleanup.policy": "delete",
        "compression.type": "producer",
        "max.message.bytes": str(limits.max_batch_bytes),
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "1",
        "retention.bytes": str(limits.retention_bytes),
        "retention.ms": str(limits.retention_ms),
        "segment.bytes": str(limits.segment_bytes),
    }
