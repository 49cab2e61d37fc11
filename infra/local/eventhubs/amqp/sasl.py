"""The SASL layer before the connection: who the client says it is."""

from __future__ import annotations

from .decoding import DecodeError, decode_whole
from .encoding import encode
from .errors import FRAMING_ERROR, ConnectionFailed
from .frames import SASL_FRAME, Frame, frame
from .tokens import Access
from .values import Array, Described, Symbol, UByte, ULong

MECHANISMS = ("MSSBCBS", "ANONYMOUS", "PLAIN", "EXTERNAL")
_MECHANISMS, _INIT, _OUTCOME = 0x40, 0x41, 0x44
_OK, _REFUSED = 0, 1


def mechanisms_frame() -> bytes:
    """What the server offers, always as an array."""
    offered = Array(tuple(Symbol(name) for name in MECHANISMS))
    return _frame(_MECHANISMS, offered)


def outcome_frame(*, authenticated: bool) -> bytes:
    """How it went."""
    return _frame(_OUTCOME, UByte(_OK if authenticated else _REFUSED), None)


def _frame(code: int, *fields: object) -> bytes:
    return frame(0, encode(Described(ULong(code), list(fields))), SASL_FRAME)


def authenticates(received: Frame, access: Access) -> bool:
    """Whether the client's sasl-init is accepted.

    PLAIN carries a policy's name and key. The others prove nothing yet: their clients put a token on `$cbs`.
    """
    try:
        init = decode_whole(received.body)
    except DecodeError as error:
        raise ConnectionFailed(FRAMING_ERROR, str(error)) from error
    if received.type != SASL_FRAME or not isinstance(init, Described) or init.descriptor != _INIT:
        raise ConnectionFailed(FRAMING_ERROR, "expected a sasl-init")
    fields = init.value if isinstance(init.value, list) else []
    mechanism = fields[0] if fields else None
    if mechanism != "PLAIN":
        return mechanism in MECHANISMS
    response = fields[1] if len(fields) > 1 else None
    parts = response.split(b"\0") if isinstance(response, bytes) else []
    if len(parts) != 3:
        return False
    return access.log_in(parts[1].decode(errors="replace"), parts[2].decode(errors="replace"))
