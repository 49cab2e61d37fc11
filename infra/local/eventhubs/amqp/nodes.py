"""What a link attaches to: from an attach to the link that serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UnknownTopic
from ..namespace import Right
from . import cbs, management
from .addresses import path_of, receive_source, send_target, source_filter, start_of
from .consumer import Consumer
from .errors import NOT_FOUND, UNAUTHORIZED, LinkRefused
from .links import Attach, Link
from .publisher import Publisher
from .requests import AnswerLink

if TYPE_CHECKING:
    from .session import Session


def open_link(session: Session, attach: Attach) -> Link:
    """The link for an attach; LinkRefused if there is no such node or the client may not use it."""
    path = path_of(attach.address)
    if path == cbs.NODE:
        return AnswerLink(session, attach, cbs.NODE) if attach.client_receives else cbs.TokenLink(session, attach)
    if path.endswith(management.NODE):
        if attach.client_receives:
            return AnswerLink(session, attach, management.NODE)
        return management.ManagementLink(session, attach)
    try:
        return _receiver(session, attach) if attach.client_receives else _sender(session, attach)
    except UnknownTopic as error:
        raise LinkRefused(NOT_FOUND, f"The messaging entity {path!r} could not be found: {error}") from error


def _sender(session: Session, attach: Attach) -> Link:
    target = send_target(attach.address)
    _authorize(session, target.path, "send")
    hub = session.connection.endpoint.hub
    hub.partition(target.hub, target.partition or 0)
    return Publisher(session, attach, target)


def _receiver(session: Session, attach: Attach) -> Link:
    source = receive_source(attach.address)
    _authorize(session, source.path, "listen")
    hub = session.connection.endpoint.hub
    hub.partition(source.hub, source.partition)
    if not hub.settings.namespace.has_consumer_group(source.hub, source.group):
        raise LinkRefused(NOT_FOUND, f"the hub {source.hub!r} has no consumer group {source.group!r}")
    return Consumer(session, attach, source, start_of(source_filter(attach.source)))


def _authorize(session: Session, path: str, right: Right) -> None:
    reason = session.connection.access.refusal(path, right)
    if reason is not None:
        raise LinkRefused(UNAUTHORIZED, reason)
