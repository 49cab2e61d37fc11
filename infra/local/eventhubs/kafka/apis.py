"""Which requests are served, in which versions.

The upper bounds stay below the versions that name topics by id; the lower bounds are kio's. CreateTopics must offer
version 4 or less: Faust unpacks exactly its response.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Api(enum.IntEnum):
    """Kafka's numbers for the requests served here."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    DESCRIBE_GROUPS = 15
    LIST_GROUPS = 16
    SASL_HANDSHAKE = 17
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    DELETE_TOPICS = 20
    DELETE_RECORDS = 21
    INIT_PRODUCER_ID = 22
    DESCRIBE_CONFIGS = 32
    ALTER_CONFIGS = 33
    SASL_AUTHENTICATE = 36
    CREATE_PARTITIONS = 37
    DELETE_GROUPS = 42
    INCREMENTAL_ALTER_CONFIGS = 44
    OFFSET_DELETE = 47
    DESCRIBE_CLUSTER = 60


class Versions(NamedTuple):
    """The lowest and highest version served."""

    lowest: int
    highest: int


VERSIONS: dict[int, Versions] = {
    Api.PRODUCE: Versions(3, 9),
    Api.FETCH: Versions(4, 12),
    Api.LIST_OFFSETS: Versions(1, 7),
    Api.METADATA: Versions(0, 12),
    Api.OFFSET_COMMIT: Versions(2, 8),
    Api.OFFSET_FETCH: Versions(1, 7),
    Api.FIND_COORDINATOR: Versions(0, 3),
    Api.JOIN_GROUP: Versions(0, 9),
    Api.HEARTBEAT: Versions(0, 4),
    Api.LEAVE_GROUP: Versions(0, 5),
    Api.SYNC_GROUP: Versions(0, 5),
    Api.DESCRIBE_GROUPS: Versions(0, 5),
    Api.LIST_GROUPS: Versions(0, 4),
    Api.SASL_HANDSHAKE: Versions(1, 1),  # after version 0, credentials come outside any request
    Api.API_VERSIONS: Versions(0, 3),
    Api.CREATE_TOPICS: Versions(2, 6),
    Api.DELETE_TOPICS: Versions(1, 5),
    Api.DELETE_RECORDS: Versions(0, 2),
    Api.INIT_PRODUCER_ID: Versions(0, 4),
    Api.DESCRIBE_CONFIGS: Versions(1, 4),
    Api.ALTER_CONFIGS: Versions(0, 2),
    Api.SASL_AUTHENTICATE: Versions(0, 2),
    Api.CREATE_PARTITIONS: Versions(0, 3),
    Api.DELETE_GROUPS: Versions(0, 2),
    Api.INCREMENTAL_ALTER_CONFIGS: Versions(0, 1),
    Api.OFFSET_DELETE: Versions(0, 0),
    Api.DESCRIBE_CLUSTER: Versions(0, 1),
}


def served(api_key: int, version: int) -> bool:
    """Whether a request of this kind and version is answered."""
    bounds = VERSIONS.get(api_key)
    return bounds is not None and bounds.lowest <= version <= bounds.highest
