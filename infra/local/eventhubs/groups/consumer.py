"""What consumers tell each other in a group: the one place that looks into their bytes.

Layout: https://kafka.apache.org/protocol.html (ConsumerProtocolSubscription: version, topics, user data, ...)
"""

from __future__ import annotations

import struct

_VERSION_AND_COUNT = struct.Struct(">hi")
_LENGTH = struct.Struct(">h")


def subscription(metadata: bytes) -> list[str]:
    """The topics of a subscription; none if the bytes are something else."""
    topics: list[str] = []
    try:
        _, count = _VERSION_AND_COUNT.unpack_from(metadata)
        at = _VERSION_AND_COUNT.size
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(metadata, at)
            at += _LENGTH.size
            if length < 0:
                return []
            topics.append(metadata[at : at + length].decode())
            at += length
    except (struct.error, UnicodeDecodeError):
        return []
    return topics
