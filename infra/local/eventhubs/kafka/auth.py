"""SASL PLAIN in the form of Event Hubs: user `$ConnectionString`, password the connection string.

The string's form is checked, its key is not: the hub listens on loopback and has no keys.
"""

from __future__ import annotations

from typing import Any

from kio.schema.errors import ErrorCode

from .codec import Fields
from .session import Session

_MECHANISM = "PLAIN"
_USER = "$ConnectionString"


async def sasl_handshake(session: Session, body: Any) -> Fields:
    """PLAIN is all there is."""
    known = body.mechanism == _MECHANISM
    return {
        "error_code": ErrorCode.none if known else ErrorCode.unsupported_sasl_mechanism,
        "mechanisms": (_MECHANISM,),
    }


async def sasl_authenticate(session: Session, body: Any) -> Fields:
    """Whether the credentials are a connection string."""
    refusal = _refusal(body.auth_bytes)
    if refusal is None:
        return {}
    return {"error_code": ErrorCode.sasl_authentication_failed, "error_message": refusal}


def _refusal(auth_bytes: bytes) -> str | None:
    parts = auth_bytes.split(b"\0")
    if len(parts) != 3 or parts[1].decode(errors="replace") != _USER:
        return f"the user must be {_USER}, as for Event Hubs"
    names = {pair.partition("=")[0] for pair in parts[2].decode(errors="replace").split(";")}
    if "Endpoint" not in names:
        return (
            "the password must be a connection string: Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=..."
        )
    return None
