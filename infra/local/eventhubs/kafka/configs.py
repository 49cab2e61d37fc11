"""Reading and changing the settings of topics."""

from __future__ import annotations

from typing import Any

from kio.schema.errors import ErrorCode

from ..errors import HubError, InvalidConfig
from ..hub import Hub
from ..topic_configs import default_configs
from .codec import Fields
from .error_codes import code_of
from .session import Session

_TOPIC_RESOURCE = 2
_BROKER_RESOURCE = 4
_SET_ON_TOPIC = 1
_DEFAULT = 5
_SET, _DELETE, _APPEND, _SUBTRACT = 0, 1, 2, 3
_LISTS = frozenset({"cleanup.policy"})


async def describe_configs(session: Session, body: Any) -> Fields:
    """The settings of topics; the broker itself shows the defaults for them."""
    return {"results": [_describe(session.hub, resource) for resource in body.resources]}


def _describe(hub: Hub, resource: Any) -> Fields:
    answer = {"resource_type": resource.resource_type, "resource_name": resource.resource_name}
    try:
        if resource.resource_type == _TOPIC_RESOURCE:
            own = hub.catalogue.get(resource.resource_name).configs
        elif resource.resource_type == _BROKER_RESOURCE:
            own = {}
        else:
            return answer | {"error_code": ErrorCode.invalid_request, "error_message": "no such resource type"}
    except HubError as error:
        return answer | {"error_code": code_of(error), "error_message": str(error)}
    asked = resource.configuration_keys
    configs = default_configs(hub.settings.log) | own
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


async def alter_configs(session: Session, body: Any) -> Fields:
    """Replace all settings of topics: what is not named goes back to its default."""
    return {
        "responses": [_alter(session.hub, each, body.validate_only, incremental=False) for each in body.resources]
    }


async def incremental_alter_configs(session: Session, body: Any) -> Fields:
    """Set, remove, or extend single settings of topics."""
    return {"responses": [_alter(session.hub, each, body.validate_only, incremental=True) for each in body.resources]}


def _alter(hub: Hub, resource: Any, validate_only: bool, *, incremental: bool) -> Fields:
    answer = {"resource_type": resource.resource_type, "resource_name": resource.resource_name}
    if resource.resource_type != _TOPIC_RESOURCE:
        return answer | {"error_code": ErrorCode.invalid_request, "error_message": "only topics can be changed"}
    name = resource.resource_name
    try:
        if incremental:
            configs = _changed(default_configs(hub.settings.log), hub.catalogue.get(name).configs, resource.configs)
        else:
            configs = {each.name: each.value for each in resource.configs if each.value is not None}
        if validate_only:
            hub.catalogue.plan_configs(name, configs)
        else:
            hub.configure_topic(name, configs)
    except HubError as error:
        return answer | {"error_code": code_of(error), "error_message": str(error)}
    return answer


def _changed(defaults: dict[str, str], own: dict[str, str], changes: Any) -> dict[str, str]:
    configs = dict(own)
    for change in changes:
        operation = change.config_operation
        if operation == _DELETE:
            configs.pop(change.name, None)
            continue
        if change.value is None:
            raise InvalidConfig(f"{change.name} needs a value")
        if operation == _SET:
            configs[change.name] = change.value
            continue
        if operation not in (_APPEND, _SUBTRACT) or change.name not in _LISTS:
            raise InvalidConfig(f"{change.name} is no list: it can be set or deleted only")
        items = [each.strip() for each in configs.get(change.name, defaults[change.name]).split(",")]
        others = [each.strip() for each in change.value.split(",")]
        kept = [each for each in items if each not in others]
        configs[change.name] = ",".join(kept + others if operation == _APPEND else kept)
    return configs
