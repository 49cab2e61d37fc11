"""SASL PLAIN in the form of Event Hubs: user `$ConnectionString`, password the connection string.

The key of the connection string is checked against the namespace's keys. Clients that come without SASL are served
unless the namespace requires keys.
"""

from __future__ import annotations

import logging
from typing import Any

from kio.schema.errors import ErrorCode

from ..namespace import AccessKey, Namespace
from .apis import Api
from .codec import Fields
from .session import Session

_log = logging.getLogger(__name__)
_MECHANISM = "PLAIN"
_USER = "$ConnectionString"
_MANAGING = frozenset(
    {
        Api.CREATE_TOPICS,
        Api.DELETE_TOPICS,
        Api.CREATE_PARTITIONS,
        Api.ALTER_CONFIGS,
        Api.INCREMENTAL_ALTER_CONFIGS,
        Api.DELETE_RECORDS,
    }
)
_BEFORE_LOGIN = frozenset({Api.API_VERSIONS, Api.SASL_HANDSHAKE, Api.SASL_AUTHENTICATE})


def may_ask(session: Session, api_key: int) -> bool:
    """Whether a request of this kind is heard on the connection: with keys required, only after a login.

    What changes topics needs the right `manage`.
    """
    if session.locked_out or (api_key in _MANAGING and not session.may("manage")):
        return False
    return session.key is not None or not session.hub.settings.namespace.require_keys or api_key in _BEFORE_LOGIN


async def sasl_handshake(session: Session, body: Any) -> Fields:
    """PLAIN is all there is."""
    known = body.mechanism == _MECHANISM
    return {
        "error_code": ErrorCode.none if known else ErrorCode.unsupported_sasl_mechanism,
        "mechanisms": (_MECHANISM,),
    }


async def sasl_authenticate(session: Session, body: Any) -> Fields:
    """Whether the credentials are a connection string with one of the namespace's keys."""
    found = _check(body.auth_bytes, session.hub.settings.namespace)
    if isinstance(found, AccessKey):
        session.key = found
        return {}
    session.locked_out = True
    _log.warning("a client from %s was refused: %s", session.peer, found)
    return {"error_code": ErrorCode.sasl_authentication_failed, "error_message": found}


def _check(auth_bytes: bytes, namespace: Namespace) -> AccessKey | str:
    """The key, or why there is none; the reason never holds a part of the password."""
    parts = auth_bytes.split(b"\0")
    if len(parts) != 3 or parts[1].decode(errors="replace") != _USER:
        return f"the user must be {_USER}, as for Event Hubs"
    # A key may end in "=", so only the first one divides.
    pairs = [pair.partition("=") for pair in parts[2].decode(errors="replace").split(";")]
    values = {name.strip().lower(): value for name, _, value in pairs}
    if not {"endpoint", "sharedaccesskeyname", "sharedaccesskey"} <= values.keys():
        return (
            "the password must be a connection string: Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=..."
        )
    key = namespace.authenticate(values["sharedaccesskeyname"], values["sharedaccesskey"])
    return key or "the SharedAccessKey does not belong to a SharedAccessKeyName of this namespace"
