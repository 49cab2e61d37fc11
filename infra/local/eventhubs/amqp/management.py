"""`$management`: the properties of a hub and of its partitions."""

from __future__ import annotations

from ..errors import UnknownTopic
from ..hub import Hub
from .errors import ARGUMENT_ERROR, NOT_FOUND
from .errors import UNAUTHORIZED as UNAUTHORIZED_ACCESS
from .requests import BAD_REQUEST, OK, UNAUTHORIZED, Answer, Request, RequestLink
from .requests import NOT_FOUND as STATUS_NOT_FOUND
from .values import Array, Int, Timestamp

NODE = "$management"
HUB_TYPE = "com.microsoft:eventhub"
PARTITION_TYPE = "com.microsoft:partition"


class ManagementLink(RequestLink):
    """Takes READ requests."""

    node = NODE

    def handle_request(self, request: Request) -> Answer:
        """The properties asked for, or why not."""
        name, kind = request.properties.get("name"), request.properties.get("type")
        if request.properties.get("operation") != "READ" or not isinstance(name, str):
            return Answer(BAD_REQUEST, "expected a READ with a name", ARGUMENT_ERROR)
        connection = self.session.connection
        refusal = connection.access.refusal(name, None)
        if refusal is not None:
            return Answer(UNAUTHORIZED, refusal, UNAUTHORIZED_ACCESS)
        try:
            if kind == HUB_TYPE:
                return Answer(OK, "OK", None, hub_properties(connection.endpoint.hub, name))
            if kind == PARTITION_TYPE:
                partition = str(request.properties.get("partition"))
                return Answer(OK, "OK", None, partition_properties(connection.endpoint.hub, name, partition))
        except UnknownTopic as error:
            return Answer(STATUS_NOT_FOUND, f"The messaging entity could not be found: {error}", NOT_FOUND)
        return Answer(BAD_REQUEST, f"{kind!r} is neither {HUB_TYPE} nor {PARTITION_TYPE}", ARGUMENT_ERROR)


def hub_properties(hub: Hub, name: str) -> dict[object, object]:
    """Name, time of creation, partitions; or UnknownTopic."""
    topic = hub.catalogue.get(name)
    created = (hub.settings.data_dir / "topics" / topic.directory).stat().st_ctime
    return {
        "name": name,
        "type": HUB_TYPE,
        "created_at": Timestamp(int(created * 1000)),
        "partition_count": Int(topic.partitions),
        "partition_ids": Array(tuple(str(index) for index in range(topic.partitions))),
    }


def partition_properties(hub: Hub, name: str, partition: str) -> dict[object, object]:
    """Where a partition begins and ends; or UnknownTopic. An empty one ends before it begins."""
    if not partition.isdecimal() or len(partition) > 5:
        raise UnknownTopic(f"there is no partition {partition!r} of {name!r}")
    log = hub.partition(name, int(partition))
    last = log.high_watermark - 1
    return {
        "name": name,
        "type": PARTITION_TYPE,
        "partition": str(int(partition)),
        "begin_sequence_number": log.start_offset,
        "last_enqueued_sequence_number": last,
        "last_enqueued_offset": str(last),
        "last_enqueued_time_utc": Timestamp(max(0, log.last_append_ms)),
        "is_partition_empty": log.high_watermark == log.start_offset,
    }
