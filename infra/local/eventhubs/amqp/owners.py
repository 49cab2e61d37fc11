"""Who receives from a partition: at most five at once, or one owner that gives way only to its like or better.

A receiver with an owner level (epoch) disconnects all receivers of lower or equal level and of none; while it is
there, receivers of a lower level or of none are refused.
"""

from __future__ import annotations

from typing import Protocol

from .addresses import ReceiveFrom
from .errors import LINK_STOLEN, RESOURCE_LIMIT, LinkRefused

_MAX_RECEIVERS = 5


class Receiver(Protocol):
    """A consumer's link."""

    epoch: int | None

    def disconnect(self, error: LinkRefused) -> None:
        """Detach the client, now."""


class Owners:
    """The receivers of every partition, per consumer group."""

    def __init__(self) -> None:
        self._receivers: dict[ReceiveFrom, list[Receiver]] = {}

    def enter(self, source: ReceiveFrom, receiver: Receiver) -> None:
        """Let a receiver in, and disconnect those it displaces; or LinkRefused."""
        present = self._receivers.setdefault(_key(source), [])
        owner = next((each for each in present if each.epoch is not None), None)
        if owner is not None and owner.epoch is not None and (receiver.epoch is None or receiver.epoch < owner.epoch):
            raise LinkRefused(
                LINK_STOLEN,
                f"At least one receiver for the endpoint is created with epoch of '{owner.epoch}', and so a receiver "
                f"with epoch '{receiver.epoch}' is not allowed. Either reconnect with a higher epoch, or make sure "
                "all epoch receivers are closed or disconnected.",
            )
        if receiver.epoch is None:
            if len(present) >= _MAX_RECEIVERS:
                raise LinkRefused(
                    RESOURCE_LIMIT,
                    "Exceeded the maximum number of allowed receivers per partition in a consumer group which is "
                    f"{_MAX_RECEIVERS}.",
                )
            present.append(receiver)
            return
        self._receivers[_key(source)] = [receiver]
        for each in present:
            each.disconnect(
                LinkRefused(
                    LINK_STOLEN,
                    f"New receiver with higher epoch of '{receiver.epoch}' is created hence current receiver with "
                    f"epoch '{each.epoch}' is getting disconnected.",
                )
            )

    def leave(self, source: ReceiveFrom, receiver: Receiver) -> None:
        """A receiver has gone; it may have been displaced before."""
        present = self._receivers.get(_key(source), [])
        if receiver in present:
            present.remove(receiver)
        if not present:
            self._receivers.pop(_key(source), None)


def _key(source: ReceiveFrom) -> ReceiveFrom:
    return ReceiveFrom(source.hub, source.group.lower(), source.partition)
