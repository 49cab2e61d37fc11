"""Errors by their AMQP names, told apart by how much of the connection they end.

AmqpError
├── ConnectionFailed   the connection closes
├── SessionFailed      the session ends
├── LinkRefused        the link detaches
└── DeliveryRefused    one delivery is rejected, the link goes on

Names: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html#type-amqp-error, and those of
Event Hubs, which begin with `com.microsoft:`.
"""

from __future__ import annotations

from ..errors import BatchRefused, BatchTooLarge, HubError, StorageFailed, UnknownTopic
from .values import Symbol

INTERNAL_ERROR = Symbol("amqp:internal-error")
NOT_FOUND = Symbol("amqp:not-found")
NOT_ALLOWED = Symbol("amqp:not-allowed")
NOT_IMPLEMENTED = Symbol("amqp:not-implemented")
UNAUTHORIZED = Symbol("amqp:unauthorized-access")
DECODE_ERROR = Symbol("amqp:decode-error")
RESOURCE_LIMIT = Symbol("amqp:resource-limit-exceeded")
FRAMING_ERROR = Symbol("amqp:connection:framing-error")
CONNECTION_FORCED = Symbol("amqp:connection:forced")
UNATTACHED_HANDLE = Symbol("amqp:session:unattached-handle")
HANDLE_IN_USE = Symbol("amqp:session:handle-in-use")
LINK_STOLEN = Symbol("amqp:link:stolen")
MESSAGE_TOO_LARGE = Symbol("amqp:link:message-size-exceeded")
ARGUMENT_ERROR = Symbol("com.microsoft:argument-error")
SERVER_BUSY = Symbol("com.microsoft:server-busy")


class AmqpError(Exception):
    """What the client is told: a condition and a sentence."""

    def __init__(self, condition: Symbol, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description


class ConnectionFailed(AmqpError):
    """The peer does not speak the protocol, or nothing more can be said to it."""


class SessionFailed(AmqpError):
    """A session has lost its meaning."""


class LinkRefused(AmqpError):
    """A link cannot be made, or not be kept."""


class DeliveryRefused(AmqpError):
    """A message is not taken."""


def refusal(error: HubError) -> DeliveryRefused:
    """What a sender is told when the hub did not store its events."""
    if isinstance(error, BatchTooLarge):
        condition = MESSAGE_TOO_LARGE
    elif isinstance(error, UnknownTopic):
        condition = NOT_FOUND
    elif isinstance(error, StorageFailed):
        condition = SERVER_BUSY
    elif isinstance(error, BatchRefused):
        condition = ARGUMENT_ERROR
    else:
        condition = INTERNAL_ERROR
    return DeliveryRefused(condition, str(error))
