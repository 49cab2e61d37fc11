"""Requests and answers over a pair of links, as `$cbs` and `$management` have them."""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from .decoding import DecodeError, decode_whole
from .encoding import NULL, encode, list_of
from .errors import DECODE_ERROR, DeliveryRefused
from .links import Attach, Delivery, InboundLink, OutboundLink
from .message import APPLICATION_PROPERTIES, PROPERTIES, VALUE, Message, decoded_map, parse, raw_items, section
from .values import Int, Symbol

if TYPE_CHECKING:
    from .session import Session

_MESSAGE_ID, _REPLY_TO = 0, 4
_MAX_WAITING = 100
OK, ACCEPTED, BAD_REQUEST, UNAUTHORIZED, NOT_FOUND, NOT_IMPLEMENTED = 200, 202, 400, 401, 404, 501


class Request(NamedTuple):
    """The application properties and the body of a request."""

    properties: Mapping[object, object]
    body: object


class Answer(NamedTuple):
    """An HTTP status, a sentence, an error's name if it is one, and a body."""

    status: int
    description: str
    condition: Symbol | None = None
    body: dict[object, object] | None = None


class AnswerLink(OutboundLink):
    """Where the answers go. They wait for credit."""

    def __init__(self, session: Session, attach: Attach, node: str) -> None:
        super().__init__(session, attach, node)
        self._waiting: deque[bytes] = deque(maxlen=_MAX_WAITING)

    def answer(self, message: bytes) -> None:
        """Send an answer as soon as there is credit."""
        self._waiting.append(message)
        self.wake()

    def wake(self) -> None:
        """Send what waits."""
        while self._waiting and self.credit > 0:
            self.send([self._waiting.popleft()])
        if not self._waiting:
            self.finish_drain()


class RequestLink(InboundLink):
    """Takes requests and answers them at once."""

    node: str

    @abc.abstractmethod
    def handle_request(self, request: Request) -> Answer:
        """The answer."""

    def deliver(self, delivery: Delivery) -> None:
        """Answer a request; one that cannot be answered is rejected."""
        try:
            message = parse(delivery.payload)
            header = raw_items(message.sections.get(PROPERTIES))
            request = _request(message)
            reply_to = _string(header, _REPLY_TO)
        except (DecodeError, IndexError) as error:
            self.reject(delivery, DeliveryRefused(DECODE_ERROR, f"the request cannot be read: {error}"))
            return
        self.accept(delivery)
        link = self.session.outbound(self.node, reply_to)
        if isinstance(link, AnswerLink):
            message_id = header[_MESSAGE_ID] if header else NULL
            link.answer(_answer_message(message_id, self.handle_request(request)))


def _request(message: Message) -> Request:
    body = decode_whole(message.body[0][1]) if message.body else None
    return Request(decoded_map(message.sections.get(APPLICATION_PROPERTIES)), body)


def _string(fields: list[bytes], index: int) -> str | None:
    value = decode_whole(fields[index]) if index < len(fields) else None
    return value if isinstance(value, str) else None


def _answer_message(message_id: bytes, answer: Answer) -> bytes:
    """The answer, its correlation id the request's message id as it came.

    Status and description have two spellings each, and clients differ in which one they read.
    """
    properties: dict[object, object] = {
        "status-code": Int(answer.status),
        "statusCode": Int(answer.status),
        "status-description": answer.description,
        "statusDescription": answer.description,
    }
    if answer.condition is not None:
        properties["error-condition"] = properties["errorCondition"] = answer.condition
    return b"".join(
        (
            section(PROPERTIES, list_of([NULL, NULL, NULL, NULL, NULL, message_id])),
            section(APPLICATION_PROPERTIES, encode(properties)),
            section(VALUE, encode(answer.body)),
        )
    )
