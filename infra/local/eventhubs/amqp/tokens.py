"""Shared access signatures, and what a connection may do with those it has shown.

Form: https://learn.microsoft.com/rest/api/eventhub/generate-sas-token
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_plus, urlsplit

from ..namespace import AccessKey, Namespace, Right

_PREFIX = "SharedAccessSignature "
_FOR_EVER = float("inf")


class TokenRefused(Exception):
    """The token proves nothing; the message says why."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a policy allows below a path, until a time in epoch seconds."""

    policy: AccessKey
    path: str
    expires_s: float

    def covers(self, path: str) -> bool:
        """Whether the path lies at or below the grant's. The empty path is the whole namespace."""
        return not self.path or path == self.path or path.startswith(f"{self.path}/")


def check_token(token: str, namespace: Namespace, now_s: float) -> Grant:
    """What the token grants, or TokenRefused."""
    if not token.startswith(_PREFIX):
        raise TokenRefused("only shared access signatures are taken, there is no Microsoft Entra here")
    fields = dict(part.partition("=")[::2] for part in token[len(_PREFIX) :].split("&"))
    missing = [name for name in ("sr", "sig", "se", "skn") if not fields.get(name)]
    if missing:
        raise TokenRefused(f"the shared access signature lacks {', '.join(missing)}")
    policy = namespace.key_named(unquote_plus(fields["skn"]))
    if policy is None:
        raise TokenRefused(f"there is no shared access policy {unquote_plus(fields['skn'])!r}")
    signed = f"{fields['sr']}\n{fields['se']}".encode()
    expected = base64.b64encode(hmac.new(policy.key.encode(), signed, hashlib.sha256).digest())
    if not hmac.compare_digest(expected, unquote_plus(fields["sig"]).encode()):
        raise TokenRefused(f"the signature does not match the key of the policy {policy.name!r}")
    if not fields["se"].isdecimal():
        raise TokenRefused("the signature's expiry must be epoch seconds")
    expires_s = int(fields["se"])
    if expires_s <= now_s:
        raise TokenRefused("ExpiredToken: the shared access signature has expired")
    try:
        return Grant(policy, _path(unquote_plus(fields["sr"])), expires_s)
    except ValueError as error:
        raise TokenRefused(f"the signature's resource is no URI: {error}") from error


def _path(resource: str) -> str:
    path = urlsplit(resource).path if "://" in resource else resource.partition("/")[2]
    return path.strip("/").lower()


class Access:
    """The grants of one connection."""

    def __init__(self, namespace: Namespace, clock_s: Callable[[], float]) -> None:
        self._namespace = namespace
        self._clock_s = clock_s
        self._grants: dict[tuple[str, str], Grant] = {}

    def put_token(self, token: str) -> None:
        """Add what a token grants, or renew it; TokenRefused leaves everything as it was."""
        self._add(check_token(token, self._namespace, self._clock_s()))

    def log_in(self, name: str, key: str) -> bool:
        """Whether this is a policy and its key; it then holds for the connection's life."""
        policy = self._namespace.authenticate(name, key)
        if policy is not None:
            self._add(Grant(policy, "", _FOR_EVER))
        return policy is not None

    def _add(self, grant: Grant) -> None:
        self._grants[grant.policy.name, grant.path] = grant

    def refusal(self, path: str, right: Right | None) -> str | None:
        """Why this may not be done now, or None. Without a right, any policy will do."""
        if not self._grants:
            return "no token was shown" if self._namespace.require_keys else None
        covering = [grant for grant in self._grants.values() if grant.covers(path.lower())]
        able = [grant for grant in covering if right is None or grant.policy.allows(right)]
        if any(grant.expires_s > self._clock_s() for grant in able):
            return None
        if able:
            return "ExpiredToken: the token has expired"
        claims = "" if right is None else f"{right.capitalize()} claim(s) "
        return f"Unauthorized access. {claims}required for {path!r}"
